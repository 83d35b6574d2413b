"""Fields of images, and hostile values for them.

Fields are declared from the plugins' layout modules and found in an image by following its tables: for each format by a
module of its own. They are grouped in strata (all L2 entries are one), and mutations go round the strata, so that each
gets as many as any other.
"""

from __future__ import annotations

import re
from struct import Struct, calcsize
from typing import TYPE_CHECKING, NamedTuple

from instar_core.testing.hostile import EDGES, Mutation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from instar_core.testing.medium import Medium

SHOWN = 6
"""Entries of one table that are fields."""


class Field(NamedTuple):
    """An integer, or the start of a text, in one file of an image."""

    stratum: str
    device: int
    offset: int
    width: int
    order: str = "big"


def record(stratum: str, layout: Struct, base: int, names: Sequence[str], device: int = 0) -> Iterator[Field]:
    """The fields of a structure, by their names; a text of more than eight bytes counts with its first eight."""
    order = "little" if layout.format.startswith("<") else "big"
    at = base
    found = []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", layout.format[1:]):
        for _ in range(1 if code in "sx" or not count else int(count)):
            width = int(count or 1) if code in "sx" else calcsize(f"={code}")
            if code != "x":
                found.append((at, min(width, 8)))
            at += width
    assert len(found) == len(names), (layout.format, names)
    for name, (offset, width) in zip(names, found, strict=True):
        yield Field(f"{stratum}.{name}", device, offset, width, order)


def table(
    stratum: str, entries: Sequence[int], base: int, width: int, order: str = "big", device: int = 0
) -> Iterator[Field]:
    """The first used entries of a table, its first unused one and its last."""
    used = [index for index, entry in enumerate(entries) if entry][:SHOWN]
    free = [index for index, entry in enumerate(entries) if not entry][:1]
    for index in sorted({*used, *free, len(entries) - 1} - {-1}):
        yield Field(stratum, device, base + index * width, width, order)


def integers(medium: Medium, offset: int, count: int, width: int, order: str = "big") -> list[int]:
    """A table; zeros past the end of the file."""
    data = medium.pread(width * count, offset).ljust(width * count, b"\0")
    return [int.from_bytes(data[at : at + width], order) for at in range(0, len(data), width)]  # type: ignore[arg-type]


def strata(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """The fields by stratum."""
    made: dict[str, list[Field]] = {}
    for field in fields:
        if field.width:
            made.setdefault(field.stratum, []).append(field)
    return made


DIGITS = (
    b"0",
    b"-1",
    b"4294967295",
    b"9223372036854775807",
    b"18446744073709551616",
    b"%s%n",
    b"..",
    b"/",
    b'"',
    b"\xff",
)


def mutations(media: Sequence[Medium], fields: Sequence[Field], random: Random, count: int) -> Iterator[Mutation]:
    """So many changes, each of one field and the strata in turn; a few also cut the file there."""
    groups = list(strata(fields).items())
    random.shuffle(groups)
    for number in range(count):
        stratum, group = groups[number % len(groups)]
        field = random.choice(group)
        made = _change(media, field, random, fields)
        if random.random() < 0.15:  # two at once: many checks look at a pair
            other = _change(media, random.choice(random.choice(groups)[1]), random, fields)
            if other.device == made.device and other.size is None and made.size is None:
                made = made._replace(title=f"{made.title}; {other.title}", patches=made.patches + other.patches)
        yield made._replace(title=f"{stratum} at {field.device}:{field.offset}: {made.title}")


def _change(media: Sequence[Medium], field: Field, random: Random, fields: Sequence[Field]) -> Mutation:
    medium = media[field.device]
    old = medium.pread(field.width, field.offset).ljust(field.width, b"\0")
    kind = random.choices(("extreme", "flip", "splice", "cut", "text"), (60, 20, 10, 7, 3))[0]
    if field.stratum.startswith("descriptor") and random.random() < 0.5:
        kind = "text"
    if kind == "cut":
        size = max(0, field.offset + random.choice((0, 1, field.width - 1, field.width, 511, 512)))
        return Mutation(f"cut to {size} bytes", field.device, (), size)
    if kind == "text":
        new = random.choice(DIGITS)
    elif kind == "flip":
        value = int.from_bytes(old, "big")
        for _ in range(random.choice((1, 1, 2, 8))):
            value ^= 1 << random.randrange(8 * field.width)
        new = value.to_bytes(field.width, "big")
    elif kind == "splice":
        other = random.choice([one for one in fields if one.width == field.width])
        new = media[other.device].pread(field.width, other.offset).ljust(field.width, b"\0")
    else:
        new = _extreme(medium.size, field, int.from_bytes(old, field.order), random)  # type: ignore[arg-type]
    return Mutation(f"{kind} {old.hex()} to {new.hex()}", field.device, ((field.offset, new),))


def _extreme(size: int, field: Field, old: int, random: Random) -> bytes:
    value = random.choice(
        (
            *EDGES,
            *(edge for edge in EDGES if edge >> 8 * field.width == 0),
            (1 << 8 * field.width) - 1,
            (1 << 8 * field.width - 1) - 1,
            1 << 8 * field.width - 1,
            size,
            size - 1,
            size // 512,
            -(-size // 65536) * 65536,
            old + 1,
            old - 1,
            old * 2,
            old // 2,
            old + 512,
            old + 65536,
            field.offset,
            random.getrandbits(8 * field.width),
            random.getrandbits(random.randrange(1, 8 * field.width + 1)),
        )
    )
    return (value % (1 << 8 * field.width)).to_bytes(field.width, field.order)  # type: ignore[arg-type]
