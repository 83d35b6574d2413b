"""Mending a VMDK image: grain directories and tables of which the copies differ, the header that leads to a footer, the
note that the file was not closed, and space at its end that nobody needs.

Directories and tables are made anew behind all else; one write of the header makes them current. Nothing that is there
is overwritten, since an entry that leads astray may lead to content.
"""

from __future__ import annotations

from array import array

from instar_core import limits as core_limits
from instar_core.types import Barrier, Put, Truncate
from instar_vmdk.checkheader import unclean
from instar_vmdk.footer import front
from instar_vmdk.layout import SECTOR
from instar_vmdk.mending import Copies
from instar_vmdk.opening import open_disk
from instar_vmdk.slack import mendable, unused
from instar_vmdk.tablewriter import addressed, little
from instar_vmdk.textputs import header_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Repair
    from instar_vmdk.layout import Part, Sparse

PIECE = 1 << 20
"""Bytes of tables that are put together."""


def repair_edits(image: Image, request: Repair) -> Iterator[Edit]:
    """What a check calls repairable is mended; with mode "leaks" only space that is not needed goes."""
    for part in open_disk(image).parts:
        if part.device >= len(image.devices) or not mendable(image.devices[part.device], part):
            continue
        source = image.devices[part.device]
        slack = unused(source, part)
        if request.mode == "all":
            yield from _header(source, part)
        if slack:
            yield Truncate(source.size - slack, part.device)
            yield Barrier()


def _header(source: Source, part: Part) -> Iterator[Edit]:
    """The header is right, says that the file was closed, and leads to directories that agree."""
    assert part.sparse is not None  # noqa: S101 - it is mendable
    made = front(source)
    if made is not None:
        yield Put(0, made, part.device)
        yield Barrier()
        return
    sparse, fields = part.sparse, {}
    if sparse.redundant and sparse.entries and not sparse.compressed:
        copies = Copies(source, sparse)
        if copies.redundant and not copies.alike:
            fields = yield from _tables(source, sparse, copies, part.device)
    if fields or unclean(source):
        yield Put(0, header_bytes(source, unclean=0, **fields), part.device)
        yield Barrier()


def _tables(source: Source, sparse: Sparse, copies: Copies, device: int) -> Generator[Edit, None, dict[str, int]]:
    """New directories, where one is needed, with new tables, where one is: the fields of the header that lead there."""
    primary = redundant = False
    for made in copies.mended():
        primary |= made.primary
        redundant |= made.redundant
    redundant |= copies.spare_lost and not copies.lost
    end = -(-source.size // SECTOR) * SECTOR
    places = {}
    for name, new in (("gd_offset", primary), ("rgd_offset", redundant)):
        if new:
            places[name] = end
            end += -(-sparse.entries * 4 // SECTOR) * SECTOR
    if places:
        fresh = Fresh(end, device)
        yield from _directories(source, sparse, copies, places, fresh)
        yield from fresh.flush()
        yield Truncate(-(-fresh.end // sparse.grain) * sparse.grain, device)
        yield Barrier()
    return {name: place // SECTOR for name, place in places.items()}


def _directories(
    source: Source, sparse: Sparse, copies: Copies, places: dict[str, int], fresh: Fresh
) -> Iterator[Edit]:
    """Copies of the old directories, as far as there are any, with all that is to be mended."""
    old = dict(zip(("gd_offset", "rgd_offset"), copies.both, strict=True))
    mended = copies.mended()
    made = next(mended, None)
    step = core_limits.PUT // 4
    for at in range(0, sparse.entries, step):
        count = min(step, sparse.entries - at)
        new = {
            name: array(
                "I", source.table(4, old[name] + at * 4, count, big=False, pad=True) if old[name] else [0] * count
            )
            for name in places
        }
        while made is not None and made.table < at + count:
            for name, changed in (("gd_offset", made.primary), ("rgd_offset", made.redundant)):
                if changed:
                    new[name][made.table - at] = (yield from fresh.add(made.data)) if made.data else made.entry
            made = next(mended, None)
        for name, entries in new.items():
            yield Put(places[name] + at * 4, little(entries), fresh.device)


class Fresh:
    """New tables on their way to the end of the file, which is at `end`."""

    __slots__ = ("_data", "device", "end")

    def __init__(self, end: int, device: int) -> None:
        self.end = end
        self.device = device
        self._data = bytearray()

    def add(self, data: bytes) -> Generator[Edit, None, int]:
        """The sector at which this table lies."""
        if len(self._data) + len(data) > PIECE:
            yield from self.flush()
        sector = addressed(self.end // SECTOR)
        self._data += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
        self.end += -(-len(data) // SECTOR) * SECTOR
        return sector

    def flush(self) -> Iterator[Edit]:
        """Puts what was gathered."""
        if self._data:
            yield Put(self.end - len(self._data), bytes(self._data), self.device)
            self._data = bytearray()
