"""Hostile images: a valid one with its metadata changed, the same for the same seed.

Where the metadata lies is not declared but observed: it is what the hooks read. Changes are spread evenly over the
ranges that they asked for, so that a header of a hundred bytes gets as many as a table of a megabyte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from instar_core.testing.medium import Patched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from instar_core.testing.medium import Medium

Place = tuple[int, int, int]
"""Device, offset and length of a range that hooks read."""

WIDTHS = (8, 4, 2, 1)
EDGES = (
    0,
    1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    (1 << 32) - 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    (1 << 64) - 1,
)
TRUNCATIONS = 520
"""Bytes of the start at each of which a file is cut: a sector and a little more."""
TRUNCATED = 128
"""The part of these that one run tries, when it may not try all."""


class Mutation(NamedTuple):
    """A change of an image: on `device`, the bytes of `patches`, and with `size` another length. `title` says it."""

    title: str
    device: int = 0
    patches: tuple[tuple[int, bytes], ...] = ()
    size: int | None = None


def apply(media: Sequence[Medium], mutation: Mutation) -> list[Medium]:
    """The media of an image with the change made."""
    made = list(media)
    base = made[mutation.device]
    made[mutation.device] = Patched(base, base.size if mutation.size is None else mutation.size, mutation.patches)
    return made


def mutations(
    media: Sequence[Medium], places: Sequence[Place], fields: Sequence[tuple[int, int]], random: Random, samples: int
) -> Iterator[Mutation]:
    """So many changes of one image. `fields` are declared ones of device 0: offset and width in bytes."""
    slots = [place for place in places if place[2] > 0 and place[0] < len(media)] or [(0, 0, 1)]
    named = [(0, offset, width) for offset, width in fields]
    cuts = min(samples // 4, TRUNCATIONS, media[0].size)
    starts = range(min(TRUNCATIONS, media[0].size))
    for size in sorted(random.sample(starts, cuts)) if cuts < len(starts) else starts:
        yield Mutation(f"cut to {size} bytes", 0, (), size)
    for number in range(samples - cuts):
        kind = number % 8
        if kind == 0:
            yield _flip(media, slots, random)
        elif kind == 1:
            yield _cut(media, slots, random)
        elif kind == 2:
            yield _splice(media, slots, random)
        elif kind == 3:
            first, second = _extreme(media, slots, random), _extreme(media, slots, random)
            if first.device == second.device:
                first = first._replace(title=f"{first.title}; {second.title}", patches=first.patches + second.patches)
            yield first
        else:
            yield _extreme(media, named if named and kind % 2 else slots, random)


def _slot(slots: Sequence[Place], random: Random, width: int) -> tuple[int, int]:
    device, offset, length = random.choice(slots)
    count = max(1, length // width)
    return device, offset + width * random.choice((0, count - 1, random.randrange(count), random.randrange(count)))


def _extreme(media: Sequence[Medium], slots: Sequence[Place], random: Random) -> Mutation:
    """An integer at the edge of its type, or one that means something in this file, in place of a field."""
    width = random.choice(WIDTHS[:2] if random.random() < 0.8 else WIDTHS)
    order = random.choice(("big", "little"))
    device, at = _slot(slots, random, width)
    size = media[device].size
    old = int.from_bytes(media[device].pread(width, at).ljust(width, b"\0"), order)  # type: ignore[arg-type]
    value = random.choice(
        (
            *EDGES,
            *EDGES,
            size,
            size - 1,
            size // 512,
            -(-size // 512) + 1,
            old + 1,
            old - 1,
            old * 2,
            old ^ 1 << random.randrange(8 * width),
            at,
            old + 512,
            random.getrandbits(8 * width),
        )
    ) % (1 << 8 * width)
    patch = value.to_bytes(width, order)  # type: ignore[arg-type]
    return Mutation(f"{value:#x} as {order} u{8 * width} at {at}", device, ((at, patch),))


def _flip(media: Sequence[Medium], slots: Sequence[Place], random: Random) -> Mutation:
    """One to eight bits turned over."""
    device, _ = _slot(slots, random, 1)
    patches, told = [], []
    for _ in range(random.choice((1, 1, 2, 8))):
        device, at = _slot([slot for slot in slots if slot[0] == device], random, 1)
        bit = random.randrange(8)
        old = media[device].pread(1, at) or b"\0"
        patches.append((at, bytes((old[0] ^ 1 << bit,))))
        told.append(f"{at}.{bit}")
    return Mutation(f"bits {', '.join(told)} turned over", device, tuple(patches))


def _cut(media: Sequence[Medium], slots: Sequence[Place], random: Random) -> Mutation:
    """The file ends within, just before or just after something that is read, or anywhere."""
    device, at = _slot(slots, random, random.choice((1, 8, 512)))
    size = random.choice((at, at + 1, at + 7, random.randrange(media[device].size + 1), max(0, media[device].size - 1)))
    return Mutation(f"cut to {size} bytes", device, (), size)


def _splice(media: Sequence[Medium], slots: Sequence[Place], random: Random) -> Mutation:
    """One field holds what another one does: loops, double references, wrong kinds."""
    width = random.choice((4, 8, 16))
    device, at = _slot(slots, random, width)
    other, source = _slot(slots, random, width)
    patch = media[other].pread(width, source).ljust(width, b"\0")
    return Mutation(f"{width} bytes of {source} also at {at}", device, ((at, patch),))
