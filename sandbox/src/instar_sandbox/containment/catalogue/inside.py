"""Deeds that stay inside: too much time and memory, wild pointers, and what is said to the host."""

from __future__ import annotations

from instar_sandbox.containment.catalogue.outside import each
from instar_sandbox.containment.deed import (
    CPU,
    CRASH,
    CUT,
    DEADLINE,
    FORBIDDEN,
    MEMORY_LIMIT,
    NEVER,
    SPINNING,
    WAITING,
    Deed,
)
from instar_sandbox.errors import Cause

WORK = (
    Deed(
        "spin",
        "time",
        "spin in Python, in C, in a search",
        CPU,
        (b"spin", b"spin-in-c", b"spin-in-search"),
        limits=SPINNING,
    ),
    Deed("call-for-ever", "time", "make an allowed call for ever", CPU, (b"call-for-ever",), limits=SPINNING),
    Deed("wait", "time", "wait for ever", DEADLINE, (b"wait", b"wait-for-lock"), limits=WAITING),
    Deed(
        "map-much",
        "memory",
        "map a TiB",
        NEVER,
        (b"map-much 0x10000000000", b"map-much 0x20000000"),
        (b"refused: ENOMEM",),
    ),
    Deed("touch-all", "memory", "touch all memory that is to be had", MEMORY_LIMIT, (b"touch-all",)),
    Deed(
        "grow",
        "memory",
        "one object without end, a bomb of zeros, objects without end",
        MEMORY_LIMIT,
        (b"grow", b"burst", b"small-pieces"),
    ),
    Deed("executable", "memory", "executable memory", FORBIDDEN, (b"executable",), (b"survived: 4096",)),
    Deed(
        "fragments",
        "memory",
        "memory in ten thousand pieces",
        frozenset({Cause.CPU, Cause.MEMORY}),
        (b"fragments",),
        (b"survived: 20000",),
    ),
    Deed("recurse", "memory", "recursion in Python", MEMORY_LIMIT, (b"recurse",), (b"refused: SystemError",)),
    Deed(
        "recurse-in-c",
        "memory",
        "recursion in C",
        CRASH,
        (b"show-nested list", b"show-nested dict", b"compare-nested tuple"),
        (b"refused: RecursionError",),
    ),
    Deed(
        "compile",
        "memory",
        "code that is too deep for the compiler",
        CRASH | MEMORY_LIMIT,
        (b"compile-nested",),
        (b"refused: RecursionError", b"refused: SyntaxError"),
    ),
)

WILD = tuple(
    b"%#x" % place
    for place in (
        0x0,
        0x8,
        0x1000,
        0x2000,
        0x4000,
        0x9000,
        0xA000,
        0xB000,
        0x10000,
        0x30000,
        0xA0000,
        0x1FE000,
        0x200000,
        0x7F000000,
        0xFEE00000,
        0xFFFFF000,
        1 << 40,
        1 << 46,
        (1 << 47) - 8,
        1 << 47,
        1 << 63,
        0xFFFFFFFF80002000,
        0xFFFFFFFF80009000,
        0xFFFFFFFF80010000,
        (1 << 64) - 8,
    )
)
"""Addresses that no program has: low and high ones, a guest's control area and its alias, devices, its memory's end."""

POINTERS = (
    Deed("peek", "pointers", "read wild addresses", CRASH, each(b"peek", WILD)),
    Deed("poke", "pointers", "write to wild addresses", CRASH, (*each(b"poke", WILD), b"poke 0x1ff000")),
    Deed("jump", "pointers", "run code at wild addresses", CRASH, each(b"jump", WILD[1:])),
    Deed("replace-stub", "pointers", "overwrite the stub between guest and host", CRASH, (b"replace-stub 0x1ff000",)),
    Deed("climb", "pointers", "read up to the end of memory, and beyond", CRASH, (b"climb 0x1000", b"climb 0x200000")),
    Deed("fill", "pointers", "write up to the end of memory, and beyond", CRASH, (b"fill 0x1000", b"fill 0x200000")),
)

ANSWERS = (
    Deed("flood", "answers", "frames without end", DEADLINE, (b"flood",), limits=WAITING),
    Deed(
        "flood-with-nothing",
        "answers",
        "empty frames, faster than they are heard",
        DEADLINE,
        (b"flood-with-nothing",),
        limits=WAITING,
    ),
    Deed(
        "announce",
        "answers",
        "a frame longer than allowed",
        CRASH,
        (b"announce 0x800001", b"announce 0x7fffffff", b"announce 0xffffffff", b"announce 0x80800001"),
    ),
    Deed(
        "never-finished",
        "answers",
        "a frame that never comes",
        DEADLINE,
        (b"announce 0x7fffff", b"announce 0x80000100"),
        limits=WAITING,
    ),
    Deed("cut", "answers", "a frame cut off", CUT, (b"cut header", b"cut frame", b"last-words-cut", b"leave 0")),
    Deed(
        "last-words",
        "answers",
        "last words of garbage",
        CRASH,
        (b"last-words X", b"last-words G", b"last-words ?", b"last-words", b"fail"),
    ),
    Deed(
        "lie",
        "answers",
        "a lie about why it ends",
        frozenset({Cause.FORBIDDEN, Cause.MEMORY, Cause.WALL, Cause.CRASH}),
        (
            b"last-words F",
            b"last-words M",
            b"last-words W",
            b"leave 1",
            b"leave 81",
            b"leave 82",
            b"leave 83",
            b"leave 84",
        ),
    ),
    Deed("lie-no-platform", "answers", "the lie that there is no sandbox", CRASH, (b"last-words P",)),
)

DEEDS = (*WORK, *POINTERS, *ANSWERS)
