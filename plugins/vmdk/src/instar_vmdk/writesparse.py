"""Writing monolithicSparse and twoGbMaxExtentSparse. Offsets and lengths are bytes unless they are called sectors."""

from __future__ import annotations

from instar_core.types import Barrier, Copy, Geometry, Kind, NewFile, Put, Truncate, Zero
from instar_vmdk.layout import HOSTED, HOSTED_MAGIC, NEWLINES, SECTOR, ZEROED, HeaderFlag, HostedHeader
from instar_vmdk.limits import EMBEDDED
from instar_vmdk.names import extent_name
from instar_vmdk.pieces import SPLIT, cut, lengths
from instar_vmdk.tablewriter import ENTRIES, GRAIN, Layout, TableWriter, addressed, directories, layout
from instar_vmdk.text import descriptor_text, embedded, extent_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_vmdk.choices import Choices

UNIT = GRAIN * SECTOR


class Extent:
    """A sparse extent in the making: grains are allocated one after the other behind its metadata."""

    __slots__ = ("_device", "_start", "_tables", "_zeroed", "made", "next", "size")

    def __init__(self, device: int, start: int, size: int, zeroed: bool) -> None:
        self._device = device
        self._start = start
        self._zeroed = zeroed
        self.size = size
        self.made: Layout = layout(size)
        self._tables = TableWriter(device, self.made)
        self.next = self.made.overhead

    def begin(self) -> Iterator[Edit]:
        """An extent without a grain, except for its header."""
        yield Truncate(0, self._device)
        yield Truncate(self.made.overhead * SECTOR, self._device)
        yield from directories(self._device, self.made)

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's content in new grains; zeros as zeroed grains where these may be."""
        grain, count = (run.start - self._start) // UNIT, -(-run.length // UNIT)
        if run.kind != Kind.DATA and self._zeroed:
            yield from self._tables.record(grain, count, ZEROED, 0)
            return
        addressed(self.next + count * GRAIN)
        if run.kind == Kind.DATA:
            yield Copy(run.start, self.next * SECTOR, run.length, self._device)
        else:
            yield Zero(self.next * SECTOR, run.length, self._device)
        yield from self._tables.record(grain, count, self.next, GRAIN)
        self.next += count * GRAIN

    def end(self) -> Iterator[Edit]:
        """What is left to put, except for the header; the file ends with a whole grain."""
        yield from self._tables.flush()
        yield Truncate(self.next * SECTOR, self._device)

    def header(self) -> Put:
        """The header, which makes the file an extent."""
        return Put(0, hosted_header(self.size, self.made, self._zeroed), self._device)


def sparse_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A sparse image: in one file, device 0, or divided over devices 1, 2, … with device 0 naming them.

    Until the last edit device 0 is no image: its header, or its text, is missing.
    """
    sizes = lengths(choices.size, split=choices.split)
    base = 1 if choices.split else 0
    names = [
        extent_name(choices.name, "s", number + 1) if choices.split else choices.name for number in range(len(sizes))
    ]
    extents = [Extent(number + base, number * SPLIT, size, choices.zeroed) for number, size in enumerate(sizes)]
    lines = [extent_line("SPARSE", size // SECTOR, name) for name, size in zip(names, sizes, strict=True)]
    text = descriptor_text(choices, lines)
    yield Geometry(
        UNIT,
        choices.size,
        zeros=bool(choices.backing),
        overhead=sum(extent.made.overhead * SECTOR for extent in extents) + (len(text) if choices.split else 0),
        files=tuple(NewFile(name) for name in names) if choices.split else (),
    )
    if choices.split:
        yield Truncate(0)
    for extent in extents:
        yield from extent.begin()
    current = 0
    for number, run in cut(runs, split=choices.split):
        while current < number:
            yield from extents[current].end()
            current += 1
        yield from extents[number].place(run)
    for extent in extents[current:]:
        yield from extent.end()
    if choices.split:
        for extent in extents:
            yield extent.header()
        yield Barrier()
        yield Put(0, text)
        return
    yield Put(SECTOR, embedded(text))
    yield Barrier()
    yield extents[0].header()


def hosted_header(size: int, made: Layout, zeroed: bool) -> bytes:
    """The header of an extent of `size` bytes, as qemu-img writes it."""
    flags = HeaderFlag.NEWLINES | HeaderFlag.REDUNDANT | (HeaderFlag.ZEROED if zeroed else 0)
    return HOSTED.pack(
        *HostedHeader(
            magic=HOSTED_MAGIC,
            version=2 if zeroed else 1,
            flags=flags,
            capacity=size // SECTOR,
            grain_size=GRAIN,
            descriptor_offset=1,
            descriptor_size=EMBEDDED,
            num_gtes=ENTRIES,
            rgd_offset=made.rgd,
            gd_offset=made.gd,
            overhead=made.overhead,
            unclean=0,
            newlines=NEWLINES,
            compress=0,
        )
    )
