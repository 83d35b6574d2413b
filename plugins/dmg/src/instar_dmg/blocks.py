"""The chunks of an image, from its block tables."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_dmg import layout, limits, plist, resources
from instar_dmg.trailer import read_trailer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source

    Chunk = tuple[int, int, int, int, int]
    """First sector, sectors, ChunkType, offset and length in the file."""
else:
    from instar_core.record import NamedTuple

U64 = (1 << 64) - 1


class Table(NamedTuple):
    """A block table. `chunks` are its entries as stored, `base` is where their offsets count from in the file."""

    name: str
    mish: layout.Mish
    base: int
    chunks: bytes


class Disk(NamedTuple):
    """An image: its trailer, which lies at `end`, and its block tables."""

    end: int
    koly: layout.Koly
    tables: tuple[Table, ...]


def open_disk(source: Source) -> Disk:
    """The image. Raises FormatError for what cannot be read, or is more than limits allow."""
    end, koly = read_trailer(source)
    if koly.rsrc_fork_length:
        place, read = (koly.rsrc_fork_offset, koly.rsrc_fork_length), resources.block_tables
        what, field = "resource fork", end + 40
    elif koly.xml_length:
        place, read = (koly.xml_offset, koly.xml_length), plist.block_tables
        what, field = "property list", end + 216
    else:
        raise FormatError("Invalid argument: there is neither a property list nor a resource fork", offset=end + 216)
    if sum(place) > end:
        raise FormatError(f"Invalid argument: the {what} does not lie before the trailer", offset=field)
    made = []
    total = 0
    for name, data in read(source, *place):
        table = _table(koly, name, data)
        total += len(table.chunks) // layout.CHUNK.size
        if total > limits.CHUNKS:
            raise FormatError(f"more than {limits.CHUNKS} chunks", kind=ErrorKind.LIMIT)
        made.append(table)
    return Disk(end, koly, tuple(made))


def _table(koly: layout.Koly, name: str, data: bytes) -> Table:
    if len(data) < layout.MISH.size or data[:4] != layout.MISH_MAGIC:
        raise FormatError("Invalid argument: a block table is none", kind=ErrorKind.CORRUPT)
    mish = layout.Mish._make(layout.MISH.unpack_from(data))
    size = mish.chunk_count * layout.CHUNK.size
    if size > len(data) - layout.MISH.size:
        raise FormatError("Invalid argument: a block table has less chunks than it says", kind=ErrorKind.CORRUPT)
    chunks = data[layout.MISH.size : layout.MISH.size + size]
    table = Table(name, mish, koly.data_fork_offset + mish.data_offset, chunks)
    for kind, _, _, count, _, length in layout.CHUNK.iter_unpack(chunks):
        if kind in layout.CODINGS and (count > limits.SECTORS or length > limits.LENGTH):
            raise FormatError(
                f"Invalid argument: a chunk of {count} sectors in {length} bytes is too large", kind=ErrorKind.LIMIT
            )
    return table


def chunks(disk: Disk) -> list[Chunk]:
    """All chunks that stand for sectors, by their place on the disk. What is past its end is left out."""
    sectors = disk.koly.sector_count
    made = []
    for table in disk.tables:
        first = table.mish.first_sector
        for kind, _, start, count, offset, length in layout.CHUNK.iter_unpack(table.chunks):
            # Sums are 64 bits wide in the format; what wraps around lies past the end of the disk or the file.
            at = first + start & U64
            if count and at < sectors and kind not in layout.SKIPPED:
                made.append((at, count, kind, table.base + offset & U64, length))
    made.sort()
    return made


def largest(disk: Disk) -> dict[int, int]:
    """The bytes of the largest chunk of each type that has to be decoded."""
    found: dict[int, int] = {}
    for table in disk.tables:
        for kind, _, _, count, _, _ in layout.CHUNK.iter_unpack(table.chunks):
            if kind in layout.CODINGS and count * layout.SECTOR > found.get(kind, 0):
                found[kind] = count * layout.SECTOR
    return found
