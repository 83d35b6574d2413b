"""What a VMDK image consists of: from its descriptor, its headers, or both."""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_vmdk import limits
from instar_vmdk.cowd import open_cowd
from instar_vmdk.descriptor import Descriptor, extent_lines, parse
from instar_vmdk.layout import COWD_MAGIC, HOSTED, HOSTED_MAGIC, SECTOR, HostedHeader, Part, Sparse
from instar_vmdk.sesparse import open_sesparse
from instar_vmdk.sparse import open_hosted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Image, Source
else:
    from instar_core.record import NamedTuple


class Disk(NamedTuple):
    """A VMDK image: its descriptor and its extents, which lie end to end."""

    descriptor: Descriptor
    create_type: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of the virtual disk."""
        last = self.parts[-1]
        return last.start + last.length


def open_disk(image: Image) -> Disk:
    """The image, as far as its devices are there: extents whose file is missing have their length from the descriptor.

    Raises FormatError, in qemu's words, for what cannot be opened.
    """
    main = image.main
    if main.size < len(HOSTED_MAGIC):
        raise FormatError("File is too small, not a valid image", kind=ErrorKind.TRUNCATED)
    magic = main.read(0, 4)
    if magic == HOSTED_MAGIC:
        header = HostedHeader._make(main.unpack(HOSTED, 0, pad=True))
        descriptor = parse(_embedded(main, header))
        if header.capacity:
            sparse = open_hosted(main)
            return Disk(descriptor, "streamOptimized" if sparse.compressed else "monolithicSparse", (_sole(sparse),))
    elif magic == COWD_MAGIC:
        return Disk(parse(b""), "vmfsSparse", (_sole(open_cowd(main)),))
    else:
        descriptor = parse(main.read(0, min(main.size, limits.TEXT)))
    return Disk(descriptor, descriptor.create_type or "", _parts(image, descriptor))


def _sole(sparse: Sparse) -> Part:
    return Part(start=0, length=sparse.capacity, type="", declared=sparse.capacity, sparse=sparse)


def _embedded(main: Source, header: HostedHeader) -> bytes:
    """The text inside a sparse file. Where the header's numbers are absurd, it is looked for where it always is."""
    offset = header.descriptor_offset * SECTOR
    size = header.descriptor_size * SECTOR
    if not 0 < offset < main.size:
        offset = SECTOR
    if not 0 < size <= limits.TEXT:
        size = limits.EMBEDDED * SECTOR
    return main.read(offset, size, pad=True)


def _parts(image: Image, descriptor: Descriptor) -> tuple[Part, ...]:
    made = []
    start = 0
    device = 0
    for line in extent_lines(descriptor):
        declared = line.sectors * SECTOR
        sparse = None
        length = declared
        if line.type != "ZERO":
            device += 1
            if line.type not in ("FLAT", "VMFS") and device < len(image.devices):
                sparse = _open_extent(image.devices[device], line.type)
                length = sparse.capacity
        made.append(
            Part(
                start=start,
                length=length,
                type=line.type,
                name=line.name,
                access=line.access,
                device=device if line.type != "ZERO" else 0,
                offset=line.offset * SECTOR,
                declared=declared,
                sparse=sparse,
            )
        )
        start += length
        if start > core_limits.VIRTUAL_SIZE:
            raise FormatError("Image size is too large", kind=ErrorKind.LIMIT)
    return tuple(made)


def _open_extent(source: Source, kind: str) -> Sparse:
    if kind == "SESPARSE":
        return open_sesparse(source)
    magic = source.read(0, 4, pad=True)
    if magic == COWD_MAGIC:
        return open_cowd(source)
    if magic != HOSTED_MAGIC:
        raise FormatError("Image not in VMDK format", offset=0)
    return open_hosted(source)
