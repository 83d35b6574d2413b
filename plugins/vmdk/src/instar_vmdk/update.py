"""Writing content into an image that is there: in place where a grain exists, else in a new one at the end."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import UNIT
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch
from instar_vmdk.choices import identifier
from instar_vmdk.grainputs import Entries, used_end
from instar_vmdk.grains import grains
from instar_vmdk.layout import COWD_MAGIC, SECTOR, ZEROED
from instar_vmdk.opening import open_disk
from instar_vmdk.textchange import identified
from instar_vmdk.textputs import read_text, text_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_vmdk.layout import Part, Sparse
    from instar_vmdk.opening import Disk


def update_edits(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are in their places, and the image has another content identifier, unless that is to be kept.

    Raises FormatError (UNSUPPORTED) for compressed, COWD and seSparse extents, for extents that do not end on whole
    grains, and for content where an extent cannot be written.
    """
    disk = open_disk(image)
    unit = _unit(image, disk)
    yield Geometry(unit, disk.size, zeros=True)
    if not request.keep:
        old = read_text(image.main)
        yield from text_edits(image.main, old, identified(old.text, identifier(request.entropy)))
    parent = bool(disk.descriptor.hint)
    writing = {number: Writing(image, part, parent) for number, part in enumerate(disk.parts) if part.sparse}
    for run in runs:
        for number, part in enumerate(disk.parts):
            low, high = max(run.start, part.start), min(run.start + run.length, part.start + part.length)
            if low >= high:
                continue
            if number in writing:
                yield from writing[number].place(run.kind, low, high)
            elif part.type == "ZERO" or part.access != "RW":
                _refuse(run, part)
            elif run.kind == Kind.DATA:
                yield Copy(low, part.offset + low - part.start, high - low, part.device)
            else:
                yield Punch(part.offset + low - part.start, high - low, part.device)
    for one in writing.values():
        yield from one.end()
    yield Barrier()


def _refuse(run: Run, part: Part) -> None:
    if run.kind == Kind.DATA or part.type != "ZERO":
        raise FormatError(f"the extent at sector {part.start // SECTOR} cannot be written", kind=ErrorKind.UNSUPPORTED)


def _unit(image: Image, disk: Disk) -> int:
    """The least unit that is whole grains everywhere."""
    unit = SECTOR
    for part in disk.parts:
        if part.type != "ZERO" and part.device >= len(image.devices):
            raise FormatError("an extent of the image is missing", kind=ErrorKind.MISSING)
        if part.sparse is not None:
            writable(image.devices[part.device], part.sparse)
            unit = max(unit, part.sparse.grain)
    for part in disk.parts:
        if part.sparse is not None and (unit % part.sparse.grain or part.start % part.sparse.grain):
            raise FormatError("the extents of the image do not end on whole grains", kind=ErrorKind.UNSUPPORTED)
        if part.start % unit:
            raise FormatError("the extents of the image do not end on whole grains", kind=ErrorKind.UNSUPPORTED)
    if unit > UNIT:
        raise FormatError(f"grains of {unit} bytes cannot be written", kind=ErrorKind.UNSUPPORTED)
    return unit


def writable(source: Source, sparse: Sparse) -> None:
    """Raises FormatError (UNSUPPORTED) for an extent of a kind that is only read."""
    if sparse.compressed:
        raise FormatError("a compressed extent cannot be changed", kind=ErrorKind.UNSUPPORTED)
    if sparse.width != 4 or source.read(0, 4) == COWD_MAGIC:
        raise FormatError("a sparse extent of ESX cannot be changed", kind=ErrorKind.UNSUPPORTED)


class Writing:
    """One sparse extent: places runs, which ascend, and keeps what its tables have to say of them."""

    def __init__(self, image: Image, part: Part, parent: bool) -> None:
        assert part.sparse is not None  # noqa: S101 - the caller has looked
        self._source = image.devices[part.device]
        self._part = part
        self._sparse = part.sparse
        self._parent = parent
        self._entries: Entries | None = None

    def place(self, kind: int, start: int, end: int) -> Iterator[Edit]:
        """The stretch of the disk in its grains; zeros need one only over a parent, and where none can be marked."""
        if self._part.access != "RW":
            raise FormatError("an extent with access RDONLY cannot be written", kind=ErrorKind.UNSUPPORTED)
        grain, base = self._sparse.grain, self._part.start
        first, last = (start - base) // grain, -(-(end - base) // grain)
        for number, count, state, offset in grains(self._source, self._sparse, first, last):
            low, high = max(start, base + number * grain), min(end, base + (number + count) * grain)
            if state == Kind.DATA:
                place = offset + low - base - number * grain
                if kind == Kind.DATA:
                    yield Copy(low, place, high - low, self._part.device)
                else:
                    yield Punch(place, high - low, self._part.device)
            elif kind == Kind.DATA:
                place = self._allocated(count)
                yield Copy(low, place, high - low, self._part.device)
                yield from self._known().record(number, count, place // SECTOR, grain // SECTOR)
            elif state == Kind.ABSENT and self._parent:
                if self._sparse.zeroed:
                    yield from self._known().record(number, count, ZEROED, 0)
                else:
                    place = self._allocated(count)
                    yield from self._known().record(number, count, place // SECTOR, grain // SECTOR)

    def end(self) -> Iterator[Edit]:
        """Everything is said."""
        if self._entries is not None:
            yield from self._entries.flush()

    def _known(self) -> Entries:
        """The entries, once there are any: only then the whole file is looked at for where it is free."""
        if self._entries is None:
            sparse = self._sparse
            used = used_end(self._source, sparse, -(-sparse.capacity // sparse.grain))
            end = -(-max(self._source.size, used) // sparse.grain) * sparse.grain
            self._entries = Entries(self._source, sparse, self._part.device, end)
        return self._entries

    def _allocated(self, count: int) -> int:
        known = self._known()
        grain = self._sparse.grain
        place = -(-known.end // grain) * grain
        known.end = place + count * grain
        return place
