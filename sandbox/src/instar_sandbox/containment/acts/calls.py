"""System calls by their number, with whatever arguments."""

from __future__ import annotations

import os

from instar_sandbox.jail._libc import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.containment.acts.world import Act, World

LIBC = ffi.dlopen(None)
WORD = 1 << 64


def call(world: World, rest: bytes) -> object:
    """One system call: its number and up to six arguments, each a number or a name that World.number() knows."""
    number, *words = (world.number(word) for word in rest.split())
    result = LIBC.syscall(number, *[word % WORD for word in words], *(0,) * (6 - len(words)))
    if result == -1:
        code = ffi.errno
        raise OSError(code, os.strerror(code))
    return result


def read_wildly(world: World, rest: bytes) -> object:
    """The channel read to a wild place, when there is something to read."""
    world.channel.send(b"more")
    try:
        return call(world, rest)
    finally:
        world.channel.receive()


def call_for_ever(_world: World, _rest: bytes) -> object:
    """An allowed call, again and again."""
    while True:
        os.getpid()


ACTS: dict[bytes, Act] = {
    b"call": call,
    b"read-wildly": read_wildly,
    b"call-for-ever": call_for_ever,
}
