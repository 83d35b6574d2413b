"""What a worker says to its host: too much, too long, cut off, or a lie."""

from __future__ import annotations

import os

from instar_sandbox.frames import LAST
from instar_sandbox.jail.descriptors import OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.containment.acts.world import Act, World

GARBAGE = bytes(range(256)) + "\x1b[2J\u202e\u2028".encode() + b"\xff\xfe\n" * 50
"""Control characters, right-to-left marks, line ends, and what is no UTF-8."""


def say(content: bytes) -> None:
    """All the bytes are on their way, as they are."""
    view = memoryview(content)
    while view:
        view = view[os.write(OUTPUT, view) :]


def flood(world: World, _: bytes) -> object:
    """Frames without end, each of them right."""
    while True:
        world.channel.send(bytes(1 << 20))


def flood_with_nothing(_world: World, _rest: bytes) -> object:
    """Empty frames without end: four bytes each, and work for whoever takes them apart."""
    nothing = bytes(1 << 20)
    while True:
        say(nothing)


def announce(world: World, rest: bytes) -> object:
    """The length of a frame, and no frame."""
    say(int(rest, 0).to_bytes(4, "little"))
    return world.channel.receive()


def cut(_: World, rest: bytes) -> object:
    """Some bytes of a frame, and an end as if all were well."""
    say((1000).to_bytes(4, "little")[:2] if rest == b"header" else (1000).to_bytes(4, "little") + b"only this")
    os._exit(0)


def last_words(world: World, rest: bytes) -> object:
    """Last words of a kind, with garbage."""
    words = rest + GARBAGE
    say((len(words) | LAST).to_bytes(4, "little") + words)
    return world.channel.receive()


def last_words_cut(_world: World, _rest: bytes) -> object:
    """Last words that were begun only."""
    say((100 | LAST).to_bytes(4, "little") + b"F")
    os._exit(0)


def leave(_: World, rest: bytes) -> object:
    """An end with a status of its own choice."""
    os._exit(int(rest))


def fail(_world: World, _rest: bytes) -> object:
    """An error whose text is garbage. It is no Exception, which the program would answer."""
    raise KeyboardInterrupt(GARBAGE.decode("latin-1") * 20)


ACTS: dict[bytes, Act] = {
    b"flood": flood,
    b"flood-with-nothing": flood_with_nothing,
    b"announce": announce,
    b"cut": cut,
    b"last-words": last_words,
    b"last-words-cut": last_words_cut,
    b"leave": leave,
    b"fail": fail,
}
