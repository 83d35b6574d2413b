"""Memory and processor time: more of them than there is, and places that are not the program's own."""

from __future__ import annotations

import mmap
import sys
import zlib

from instar_sandbox.containment.acts.world import Refused
from instar_sandbox.jail._libc import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_sandbox.containment.acts.world import Act, World

PIECE = 16 << 20
PLENTY = 8 << 30
"""Bytes beyond every limit that containment is tried with."""
DEEP = 1 << 17
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
STEP = 4096
FRAME = 64 << 10
"""Bytes that every level of a recursion holds: memory, and not its account of it, runs out first."""


def map_much(_: World, rest: bytes) -> object:
    """So many bytes in one piece, not touched."""
    return len(mmap.mmap(-1, int(rest, 0), flags=PRIVATE))


def touch_all(_world: World, _rest: bytes) -> object:
    """All memory that is to be had, each page written. Raises MemoryError at the end of it."""
    held: list[mmap.mmap] = []
    while len(held) * PIECE < PLENTY:
        try:
            piece = mmap.mmap(-1, PIECE, flags=PRIVATE)
        except OSError as error:
            raise MemoryError(str(error)) from error
        piece[:: mmap.PAGESIZE] = b"x" * (PIECE // mmap.PAGESIZE)
        held.append(piece)
    return PLENTY


def grow(_world: World, _rest: bytes) -> object:
    """One object that doubles."""
    large = bytearray(1 << 20)
    while len(large) < PLENTY:
        large = large + large
    return len(large)


def burst(_world: World, _rest: bytes) -> object:
    """What looks small and is not: compressed zeros, again and again."""
    bomb = zlib.compress(bytes(PIECE), 9)
    held = [zlib.decompress(bomb) for _ in range(PLENTY // PIECE)]
    return len(held)


def small_pieces(_world: World, _rest: bytes) -> object:
    """Objects without end."""
    held: list[object] = []
    while True:
        held = [held, bytes(STEP)]


def executable(_world: World, _rest: bytes) -> object:
    """Memory that may be run."""
    return len(mmap.mmap(-1, 4096, flags=PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))


def fragments(_world: World, _rest: bytes) -> object:
    """Every other page given back, so that what is free is many pieces."""
    held = [mmap.mmap(-1, mmap.PAGESIZE, flags=PRIVATE) for _ in range(20000)]
    for piece in held[::2]:
        piece.close()
    return len(held)


def recurse(_world: World, _rest: bytes) -> object:
    """Python functions that call each other without end, their memory running out."""
    sys.setrecursionlimit(1 << 30)

    def deeper(held: object) -> object:
        return deeper([held, bytes(FRAME)])

    try:
        return deeper(None)
    except (RecursionError, SystemError) as error:  # CPython 3.11 may forget to say MemoryError
        raise Refused(type(error).__name__) from None


def nested(kind: bytes) -> object:
    """A list, tuple or dictionary in itself, deeper than any stack of C."""
    inner: object = ()
    for _ in range(DEEP):
        inner = {0: inner} if kind == b"dict" else (inner,) if kind == b"tuple" else [inner]
    return inner


def show_nested(_: World, rest: bytes) -> object:
    """C functions that call each other: the text of a deep structure."""
    sys.setrecursionlimit(1 << 30)
    try:
        return len(repr(nested(rest)))
    except RecursionError:
        raise Refused("RecursionError") from None


def compare_nested(_: World, rest: bytes) -> object:
    """The same: comparing two of them."""
    sys.setrecursionlimit(1 << 30)
    try:
        return nested(rest) == nested(rest)
    except RecursionError:
        raise Refused("RecursionError") from None


def compile_nested(_world: World, _rest: bytes) -> object:
    """The compiler, with brackets in brackets."""
    sys.setrecursionlimit(1 << 30)
    try:
        return compile("-" * DEEP + "1", "deep", "eval")
    except (RecursionError, SyntaxError) as error:
        raise Refused(type(error).__name__) from None


def spin(_world: World, _rest: bytes) -> object:
    """Python that never ends."""
    while True:
        pass


def spin_in_c(_world: World, _rest: bytes) -> object:
    """One operation of the interpreter that takes for ever."""
    return len(str(pow(7, 1 << 40)))


def spin_in_search(_world: World, _rest: bytes) -> object:
    """A loop in C over an iterator without an end."""
    return 1 in iter(int, 1)


def words(place: int) -> tuple[Any, int]:
    """An array and the index of the word at a place; no array begins at zero, which cffi would not follow."""
    return (ffi.cast("unsigned long *", place), 0) if place else (ffi.cast("unsigned long *", 8), -1)


def peek(world: World, rest: bytes) -> object:
    """The word at an address."""
    word, index = words(world.number(rest))
    return hex(word[index])


def poke(world: World, rest: bytes) -> object:
    """The word at an address, written over with zeros."""
    word, index = words(world.number(rest))
    word[index] = 0
    return "written"


def jump(world: World, rest: bytes) -> object:
    """Code at an address, run."""
    return ffi.cast("long(*)(void)", world.number(rest))()


def replace_stub(_: World, rest: bytes) -> object:
    """The code that stands between a guest and its host: read, then overwritten with itself."""
    place = ffi.cast("unsigned char *", int(rest, 0))
    for index in range(8):
        place[index] = place[index]
    return "written"


def climb(world: World, rest: bytes) -> object:
    """Words read upwards, in steps, from what is the program's own to what is not."""
    step = int(rest, 0)
    at = world.here() & -STEP
    while 0 <= at < 1 << 64:
        ffi.cast("unsigned long *", at)[0]
        at += step
    return "everything"


def fill(world: World, rest: bytes) -> object:
    """The same, writing."""
    step = int(rest, 0)
    at = world.here() & -STEP
    while 0 <= at < 1 << 64:
        ffi.cast("unsigned long *", at)[0] = (1 << 64) - 1
        at += step
    return "everything"


ACTS: dict[bytes, Act] = {
    b"map-much": map_much,
    b"touch-all": touch_all,
    b"grow": grow,
    b"burst": burst,
    b"small-pieces": small_pieces,
    b"executable": executable,
    b"fragments": fragments,
    b"recurse": recurse,
    b"show-nested": show_nested,
    b"compare-nested": compare_nested,
    b"compile-nested": compile_nested,
    b"spin": spin,
    b"spin-in-c": spin_in_c,
    b"spin-in-search": spin_in_search,
    b"peek": peek,
    b"poke": poke,
    b"jump": jump,
    b"replace-stub": replace_stub,
    b"climb": climb,
    b"fill": fill,
}
