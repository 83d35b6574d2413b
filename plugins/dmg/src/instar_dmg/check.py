"""Checking an image: its block tables, and the checksums of what is stored.

qemu-img knows no check for this format, so the words are ours. The checksums of partitions are those of decoded
content, which is never decoded where metadata is parsed: they are not looked at.
"""

from __future__ import annotations

import zlib

from instar_core.types import NOWHERE, Finding, Severity, Tally
from instar_dmg import layout, limits
from instar_dmg.blocks import Disk, chunks, open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_dmg.blocks import Chunk

PIECE = 1 << 20
"""Bytes of the data fork that are read at once."""


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then the counts: of chunks, of those that are stored, and of those that are coded."""
    disk = open_disk(image.main)
    found = chunks(disk)
    yield from _trailer(disk)
    yield from _tables(disk)
    yield from _bounded(_order(disk, found))
    yield from _bounded(_places(disk, found))
    yield from _checksums(image.main, disk)
    stored = [kind for _, _, kind, _, _ in found if kind not in layout.EMPTY]
    yield Tally(
        total=len(found),
        allocated=len(stored),
        compressed=sum(kind in layout.CODINGS for kind in stored),
        end=image.main.size,
    )


def _trailer(disk: Disk) -> Iterator[Finding]:
    koly = disk.koly
    if koly.version != 4 or koly.header_size != layout.KOLY.size:
        yield _note(f"The trailer has version {koly.version} and says that it has {koly.header_size} bytes", disk.end)
    if koly.data_fork_offset + koly.data_fork_length > disk.end:
        yield _corruption("ERROR the data fork does not lie before the trailer", disk.end + 24)


def _tables(disk: Disk) -> Iterator[Finding]:
    """Block tables that say something else of their sectors than their chunks do."""
    for table in disk.tables:
        reach = 0
        for kind, _, start, count, _, _ in layout.CHUNK.iter_unpack(table.chunks):
            reach = max(reach, start + count) if kind not in layout.SKIPPED else reach
        if reach != table.mish.sector_count:
            yield _note(
                f"The table '{table.name}' says that it has {table.mish.sector_count} sectors, its chunks reach {reach}"
            )


def _order(disk: Disk, found: list[Chunk]) -> Iterator[Finding]:
    """Sectors that lie in two chunks, or in none."""
    reach, sectors = 0, disk.koly.sector_count
    for first, count, _, _, _ in found:
        if first < reach:
            yield _corruption(f"ERROR two chunks hold the sectors {first} to {min(reach, first + count) - 1}")
        elif first > reach:
            yield _corruption(f"ERROR no chunk holds the sectors {reach} to {first - 1}")
        reach = max(reach, first + count)
    if reach < sectors:
        yield _corruption(f"ERROR no chunk holds the sectors {reach} to {sectors - 1}")
    elif reach > sectors:
        yield _note(f"Chunks reach the sector {reach - 1}, but the disk ends at {sectors}")


def _places(disk: Disk, found: list[Chunk]) -> Iterator[Finding]:
    """Chunks that do not lie where stored data may be, or cannot be what they say."""
    for first, count, kind, offset, length in found:
        if kind in layout.EMPTY:
            continue
        if kind != layout.ChunkType.RAW and kind not in layout.CODINGS:
            yield _corruption(f"ERROR the chunk at sector {first} has the unknown type {kind:#010x}")
        elif offset + length > disk.end:
            yield _corruption(f"ERROR the chunk at sector {first} does not lie before the trailer", offset)
        elif length < (count * layout.SECTOR if kind == layout.ChunkType.RAW else 1):
            yield _corruption(f"ERROR the chunk at sector {first} is only {length} bytes long", offset)


def _checksums(source: Source, disk: Disk) -> Iterator[Finding]:
    koly = disk.koly
    end = koly.data_fork_offset + koly.data_fork_length
    if koly.data_checksum_type == layout.CRC32 and end <= disk.end:
        made = 0
        for at in range(koly.data_fork_offset, end, PIECE):
            made = zlib.crc32(source.read(at, min(PIECE, end - at)), made)
        said = int.from_bytes(koly.data_checksum[:4], "big")
        if made != said:
            text = f"ERROR the data fork has the checksum {made:08x}, but the trailer says {said:08x}"
            yield _corruption(text, koly.data_fork_offset)
    elif koly.data_checksum_type not in (0, layout.CRC32):
        yield _note(f"The data fork's checksum is of the type {koly.data_checksum_type}, which is not checked")
    if koly.checksum_type == layout.CRC32:
        sums = [table.mish.checksum[:4] for table in disk.tables if table.mish.checksum_type == layout.CRC32]
        made, said = zlib.crc32(b"".join(sums)), int.from_bytes(koly.checksum[:4], "big")
        if made != said:
            text = f"ERROR the block tables have the checksum {made:08x}, but the trailer says {said:08x}"
            yield _corruption(text, disk.end + 296)


def _bounded(made: Iterator[Finding]) -> Iterator[Finding]:
    """The first findings as they are, all others as one."""
    rest = 0
    for number, finding in enumerate(made):
        if number < limits.FINDINGS:
            yield finding
        else:
            rest += 1
    if rest:
        yield Finding(Severity.CORRUPTION, f"ERROR {rest} more chunks are wrong in the same way", count=rest)


def _note(text: str, offset: int = NOWHERE) -> Finding:
    return Finding(Severity.NOTE, text, offset=offset)


def _corruption(text: str, offset: int = NOWHERE) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset=offset)
