"""Changing what a volume holds, and how much, in place: content lies sector by sector behind the payload offset."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1.layout import SECTOR_SIZE
from instar_core.types import Barrier, Copy, Geometry, Reserve, Truncate
from instar_luks import limits
from instar_luks.volume import open_volume, virtual_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Resize, Run

MODES = ("off", "falloc", "full")


def update_edits(image: Image, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """Every run is in its place, encrypted, zeros too. Raises FormatError."""
    volume = open_volume(image)
    yield Geometry(volume.coding.unit, virtual_size(image, volume), zeros=True, cipher=volume.coding)
    for run in runs:
        yield Copy(run.start, volume.offset + run.start, run.length)
    yield Barrier()


def resize_edits(image: Image, request: Resize) -> Iterator[Edit]:
    """The file ends where the disk ends. As with qemu-img, what it grows by holds no ciphertext of zeros yet: nobody
    who lacks the key can write that, so it reads as noise.

    The size is rounded up to a whole sector where that is larger than 512 bytes. Raises FormatError (UNSUPPORTED) for a
    volume whose header says its size, and for a preallocation that no plain file has.
    """
    volume = open_volume(image)
    if volume.length is not None:
        raise FormatError("a volume whose header says its size cannot be resized", kind=ErrorKind.UNSUPPORTED)
    how = request.preallocation
    if how not in MODES:
        raise FormatError(f"Unsupported preallocation mode: {how}", kind=ErrorKind.UNSUPPORTED)
    unit = volume.coding.unit
    size = request.size if unit == SECTOR_SIZE else -(-request.size // unit) * unit
    end, before = volume.offset + size, image.main.size
    if end > limits.FILE:
        raise FormatError("The requested file size is too large", kind=ErrorKind.LIMIT)
    yield Truncate(end)
    if how != "off" and end > before:
        yield Reserve(before, end - before, how)
    yield Barrier()
