"""The raw format: the file is the disk. Registered through the entry point like any other format.

A file whose size is no multiple of 512 bytes is a disk of the next multiple, with zeros at its end.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import (
    FILE_OPTIONS,
    Barrier,
    Capability,
    Copy,
    Create,
    Extent,
    Flag,
    FormatSpec,
    Geometry,
    ImageInfo,
    Kind,
    Option,
    Punch,
    Put,
    Reserve,
    Resize,
    Truncate,
    Update,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Run, Span, WriteRequest

SECTOR = 512
BLOCK = 4096
UNIT = 64 << 10

SPEC = FormatSpec(
    name="raw",
    hooks="instar_core.raw",
    title="Raw disk",
    suffixes=(".raw", ".img"),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.MEASURE,
            Capability.UPDATE,
            Capability.RESIZE,
        }
    ),
    options=(Option("size", "size", "Virtual disk size"), *FILE_OPTIONS),
    open_options=(
        Option("offset", "size", "where the disk starts in the file"),
        Option("size", "size", "how long it is"),
    ),
)


def geometry(image: Image) -> tuple[int, int]:
    """Where the disk starts in the file and how long it is, in bytes."""
    offset = image.options.get("offset") or 0
    size = image.options.get("size")
    have = -(-image.main.size // SECTOR) * SECTOR
    if offset > have:
        raise FormatError(
            f"Offset ({offset}) cannot be greater than size of the containing file ({have})", offset=offset
        )
    if size is None:
        return offset, -(-(have - offset) // SECTOR) * SECTOR
    if size > have - offset:
        raise FormatError(
            f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  "
            f"actual size of the containing file ({have})",
            offset=offset,
        )
    if size % SECTOR:
        raise FormatError("Specified size is not multiple of 512", offset=offset)
    return offset, size


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The disk is as long as the file, or as the caller says."""
    _, size = geometry(image)
    return ImageInfo("raw", size, dirty=False, partial=True)


@hookimpl
def instar_map(image: Image, span: Span) -> Iterator[Extent]:
    """Everything is data at its own place; holes of the file are found by the host."""
    offset, _ = geometry(image)
    inside = max(0, min(span.length, image.main.size - offset - span.start))
    if inside:
        yield Extent(span.start, inside, Kind.DATA, 0, offset + span.start, flags=Flag.HOLES)
    if inside < span.length:
        yield Extent(span.start + inside, span.length - inside, Kind.ZERO, 0, offset + span.start + inside)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A file of the disk's size with every run at its own place; or the same of the disk that is there."""
    if isinstance(request, Create):
        yield from create(request)
        yield from placed(runs, 0)
    elif image is not None and isinstance(request, Update):
        offset, size = geometry(image)
        yield Geometry(SECTOR, size, zeros=True)
        yield from placed(runs, offset)
    elif image is not None and isinstance(request, Resize):
        yield from resize(image, request)
    else:
        raise FormatError("raw images have no such change", kind=ErrorKind.UNSUPPORTED)


def create(request: Create) -> Iterator[Geometry | Edit]:
    """An empty disk, as large as wanted."""
    size = -(-request.size // SECTOR) * SECTOR
    how = preallocation(request.options.get("preallocation") or "off")
    yield Geometry(UNIT, size, zeros=True)
    yield Truncate(size)
    if how != "off" and size:
        yield Reserve(0, size, how)
    elif size:
        yield Put(0, bytes(min(size, BLOCK)))


def placed(runs: Iterable[Run], offset: int) -> Iterator[Edit]:
    """Every run at its own place, of a disk that starts at `offset`."""
    for run in runs:
        if run.kind == Kind.ZERO:
            yield Punch(offset + run.start, run.length)
        else:
            yield Copy(run.start, offset + run.start, run.length)
    yield Barrier()


def resize(image: Image, request: Resize) -> Iterator[Edit]:
    """The file ends where the disk ends, to the byte."""
    offset, _ = geometry(image)
    if image.options.get("size") is not None:
        raise FormatError("Cannot resize fixed-size raw disks", kind=ErrorKind.UNSUPPORTED)
    how = preallocation(request.preallocation)
    end, before = offset + request.size, image.main.size
    yield Truncate(end)
    if how != "off" and end > before:
        yield Barrier()  # the size is the disk's: written zeros must not make the file grow bit by bit
        yield Reserve(before, end - before, how)
    yield Barrier()


def preallocation(how: str) -> str:
    """The mode, if a plain file has it. Raises FormatError in qemu's words."""
    if how == "metadata":
        raise FormatError("Unsupported preallocation mode: metadata", kind=ErrorKind.UNSUPPORTED)
    if how not in ("off", "falloc", "full"):
        raise FormatError(f"invalid parameter value: {how}")
    return how
