"""The ranges that `map` tells, in columns: what extents say of themselves, and neighbours made one."""

from __future__ import annotations

from _operator import eq, is_, sub
from itertools import chain, compress

from instar_core import columns
from instar_core.results import MapRange
from instar_core.types import NOWHERE, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.chain import Member
    from instar_core.columns import Columns
    from instar_core.types import Extent

NO_PLACE = bytes([code > 3 for code in range(256)])
TURNED = bytes.maketrans(b"\0\1", b"\1\0")


class Look:
    """What ranges of one kind have in common. There is one object for each kind of a map, so that `is` compares."""

    __slots__ = ("compressed", "data", "depth", "filename", "placed", "present", "zero")

    def __init__(
        self, depth: int, present: bool, zero: bool, data: bool, compressed: bool, placed: bool, filename: str
    ) -> None:
        self.depth = depth
        self.present = present
        self.zero = zero
        self.data = data
        self.compressed = compressed
        self.placed = placed
        """Whether the ranges have a plain place in the file `filename`."""
        self.filename = filename


class Looks(dict["tuple[int, int, int, int, bool]", Look]):
    """The looks of the extents of one image, by kind, device, coding, whether there is no place, whether the file has
    data."""

    def __init__(self, member: Member, depth: int) -> None:
        super().__init__()
        self._member = member
        self._depth = depth
        self._known: dict[tuple[object, ...], Look] = {}

    def __missing__(self, key: tuple[int, int, int, int, bool]) -> Look:
        kind, device, coding, nowhere, filled = key
        data = kind == Kind.DATA
        placed = not nowhere and not coding
        whole = bool(coding) and self._member.info.codings[coding - 1].whole
        filename = self._member.devices[device].path if placed else ""
        fields = (self._depth, kind != Kind.ABSENT, not data or not filled, data, whole, placed, filename)
        found = self[key] = self._known.setdefault(fields, Look(*fields))
        return found


class Ranges:
    """Ranges that touch one another: where each starts, how long it is, its place, its look, and as a byte 1 where it
    has no place, whatever stands for it."""

    __slots__ = ("lengths", "looks", "offsets", "placeless", "starts")

    def __init__(
        self, starts: list[int], lengths: list[int], offsets: list[int], looks: list[Look], placeless: bytes
    ) -> None:
        self.starts = starts
        self.lengths = lengths
        self.offsets = offsets
        self.looks = looks
        self.placeless = placeless

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[MapRange]:
        for start, length, offset, look in zip(self.starts, self.lengths, self.offsets, self.looks, strict=True):
            yield MapRange(
                start,
                length,
                look.depth,
                look.present,
                look.zero,
                look.data,
                look.compressed,
                offset if look.placed else None,
                look.filename,
            )

    def __add__(self, other: Ranges) -> Ranges:
        return Ranges(*[getattr(self, name) + getattr(other, name) for name in FIELDS])

    def split(self, at: int) -> tuple[Ranges, Ranges]:
        """The ranges before and from one of them on."""
        fields = [getattr(self, name) for name in FIELDS]
        return Ranges(*[field[:at] for field in fields]), Ranges(*[field[at:] for field in fields])


FIELDS = ("starts", "lengths", "offsets", "looks", "placeless")


def of_columns(batch: Columns, looks: Looks) -> Ranges:
    """A range for each extent, whose file has data wherever it may."""
    starts = columns.starts(batch)
    starts.pop()
    number, device, coding = batch.number, batch.device, batch.coding
    codes = columns.codes(batch)
    if isinstance(device, int) and coding == 0:
        known = {code: looks[code & 3, device, 0, code > 3, True] for code in set(codes)}
        said = list(map(known.__getitem__, codes))
        placeless = codes.translate(NO_PLACE)
    else:
        rows = zip(codes, columns.each(device, number), columns.each(coding, number), strict=True)
        said = [looks[code & 3, device, coding, code > 3, True] for code, device, coding in rows]
        placeless = bytes([not look.placed for look in said])
    lengths, offsets = columns.each(batch.length, number), columns.each(batch.offset, number)
    return Ranges(starts, list(lengths), list(offsets), said, placeless)


def of_extents(found: Iterable[tuple[Extent, Looks, bool]]) -> Ranges:
    """The same for extents with their image's looks and whether their file has data there."""
    made = Ranges([], [], [], [], b"")
    placeless = bytearray()
    for extent, looks, filled in found:
        start, length, kind, device, offset, _, coding, _, _ = extent
        look = looks[kind, device, coding, offset == NOWHERE, filled]
        made.starts.append(start)
        made.lengths.append(length)
        made.offsets.append(offset)
        made.looks.append(look)
        placeless.append(not look.placed)
    made.placeless = bytes(placeless)
    return made


def joined(batches: Iterable[Ranges]) -> Iterator[Ranges]:
    """The same ranges, those made one that are neighbours and continue one another."""
    held: Ranges | None = None
    for batch in batches:
        rest = _joined(batch if held is None else held + batch)
        told, held = rest.split(len(rest) - 1)
        if told.starts:
            yield told
    if held is not None:
        yield held


def _joined(batch: Ranges) -> Ranges:
    """The same within one batch. Two ranges continue one another if they look the same, and both have no place or lie
    as far from their places."""
    starts, offsets, looks = batch.starts, batch.offsets, batch.looks
    shifts = list(map(sub, offsets, starts))
    if b"\1\1" not in batch.placeless and not any(map(eq, shifts[1:], shifts)):
        return batch
    same = int.from_bytes(bytes(map(is_, looks[1:], looks)), "big")
    follows = int.from_bytes(bytes(map(eq, shifts[1:], shifts)), "big") | int.from_bytes(batch.placeless[1:], "big")
    kept = b"\1" + (same & follows).to_bytes(len(starts) - 1, "big").translate(TURNED)
    starts = list(compress(starts, kept))
    end = batch.starts[-1] + batch.lengths[-1]
    return Ranges(
        starts,
        list(map(sub, chain(starts[1:], (end,)), starts)),
        list(compress(offsets, kept)),
        list(compress(looks, kept)),
        bytes(compress(batch.placeless, kept)),
    )
