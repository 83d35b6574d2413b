"""Growing the disk of an image that is there. Source: docs/interop/qed_spec.rst of QEMU."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import VIRTUAL_SIZE
from instar_core.types import Barrier, Punch, Zero
from instar_qed import layout
from instar_qed.growing import Growing
from instar_qed.header import largest
from instar_qed.writable import begun, field_put, sound_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Resize
    from instar_qed.header import Header


def resized(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to sectors, and what it grows by reads as zeros, whatever the backing file has.

    The size in the header changes last and in one write. Raises FormatError: as qemu for a smaller size, for room that
    is to be made beforehand and for a size that tables cannot map; and (REFUSED) where the disk ends inside a cluster
    of a longer backing file, as a cluster has only one owner.
    """
    header = sound_header(image.main)
    if request.preallocation != "off":
        wrong = f"Unsupported preallocation mode '{request.preallocation}'"
        if _below(header, request) > header.image_size:
            wrong = "Block driver does not support requested flags"
        raise FormatError(wrong, kind=ErrorKind.UNSUPPORTED)
    size = request.size
    if size % layout.SECTOR:
        raise FormatError("Invalid image size specified", kind=ErrorKind.USAGE)
    if size < header.image_size:
        raise FormatError("Shrinking images is currently not supported", kind=ErrorKind.UNSUPPORTED)
    if size > min(largest(header.cluster_size, header.table_size), VIRTUAL_SIZE):
        raise FormatError("Invalid image size specified", kind=ErrorKind.USAGE)
    yield from begun(header)
    growing = Growing(image.main, header)
    below = _below(header, request)
    if size > header.image_size:
        yield from _last_cluster(growing, header, below)
    yield from _further(growing, header, size, below)
    yield from growing.commit()
    yield Barrier()
    yield field_put(layout.IMAGE_SIZE_OFFSET, size)
    yield Barrier()


def _below(header: Header, request: Resize) -> int:
    """How far the backing file may have content, in bytes: anywhere where nobody has looked."""
    if not header.backing_filename:
        return 0
    return request.size if request.below is None else request.below


def _last_cluster(growing: Growing, header: Header, below: int) -> Iterator[Edit]:
    """What the last cluster has behind the end of the disk is zeros."""
    inside = header.image_size % header.cluster_size
    if not inside:
        return
    for _, _, entry, _ in growing.pieces(header.image_size // header.cluster_size, 1):
        if entry > layout.ZERO:
            yield Zero(entry + inside, header.cluster_size - inside)
        elif below > header.image_size and entry != layout.ZERO:
            raise FormatError(
                "The disk ends inside a cluster of its backing file, and cannot grow before that is written",
                kind=ErrorKind.REFUSED,
            )


def _further(growing: Growing, header: Header, size: int, below: int) -> Iterator[Edit]:
    """Clusters behind the end of the disk are zeros: those that have a place, and those that the backing file may have.

    Any other is zeros already.
    """
    first, last = -(-header.image_size // header.cluster_size), -(-size // header.cluster_size)
    step = header.entries
    while first < last:
        count = min(last - first, step - first % step)
        for cluster, some, entry, _ in growing.pieces(first, count):
            if entry > layout.ZERO:
                yield Punch(entry, some * header.cluster_size)
            elif cluster * header.cluster_size < below and entry != layout.ZERO:
                covered = min(some, -(-below // header.cluster_size) - cluster)
                yield from growing.set(cluster, covered, layout.ZERO, 0)
        if growing.full:
            yield from growing.commit()
        first += count
