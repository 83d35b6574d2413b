"""What is wrong with the blocks of a VHDX image: their states, their places, and the sector bitmaps."""

from __future__ import annotations

from instar_core.ranges import Ranges
from instar_core.types import Finding, Severity
from instar_vhdx import limits
from instar_vhdx.bat import bitmap_entry, entries
from instar_vhdx.layout import BITMAP_PRESENT, MIB, OFFSET, SECTOR, STATE, Payload
from instar_vhdx.map import beyond, used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_vhdx.opening import Disk

EMPTY = (Payload.NOT_PRESENT, Payload.UNDEFINED, Payload.ZERO, Payload.UNMAPPED)


def block_findings(disk: Disk) -> Iterator[Finding]:
    """Findings on every block, and on blocks that share a place in the file."""
    taken = Ranges(limits.CHECK_RUNS)
    chunks: set[int] = set()
    told = 0
    for block, count, entry, step in entries(disk, 0, disk.blocks):
        state = entry & STATE
        if state in EMPTY:
            continue
        if state not in (Payload.FULLY_PRESENT, Payload.PARTIALLY_PRESENT):
            yield _corruption(f"VHDX BAT entry {block} has state {state}, which does not exist", count)
            continue
        for found in _places(disk, block, count, entry & OFFSET, step, taken):
            told += 1
            if told <= limits.CHECK_LINES:
                yield found
        if state == Payload.PARTIALLY_PRESENT:
            if not disk.metadata.parent:
                yield _corruption(f"VHDX BAT entry {block} is partially present, but there is no parent", count)
            else:
                chunks.update(range(block // disk.ratio, (block + count - 1) // disk.ratio + 1))
    if told > limits.CHECK_LINES:
        more = told - limits.CHECK_LINES
        yield _corruption(f"{more} more VHDX BAT entries lie where they must not", more)
    yield from _bitmaps(disk, sorted(chunks), taken)
    if taken.full:
        yield Finding(Severity.NOTE, "The image is too fragmented to look for blocks that overlap")
        return
    for offset in taken.overlaps():
        yield _corruption(f"VHDX blocks overlap at {offset}", 1, offset)


def _places(disk: Disk, block: int, count: int, offset: int, step: int, taken: Ranges) -> Iterator[Finding]:
    """A run of blocks, its first at `offset`: the ends of the file, and the regions, each of which counts by itself."""
    size = disk.metadata.block
    end = -(-disk.source.size // SECTOR) * SECTOR
    if step or count == 1:
        last = offset + (count - 1) * size + used(disk, block + count - 1)
        if last <= end and not _over(disk, offset, offset + count * size):
            taken.add(offset, count * size)
            return
    for number in range(block, block + count):
        place = offset + (number - block) * step
        over = _over(disk, place, place + size)
        if over:
            yield _corruption(f"VHDX region {place}-{place + size} overlaps with {over}", 1, place)
        if place + size >= 1 << 63:
            yield _corruption(f"VHDX BAT entry {number} offset overflow.", 1, place)
        if place >= end or place + used(disk, number) > end:
            yield _corruption(beyond(number, place, disk, end), 1, place)
        elif not over:
            taken.add(place, size)


def _over(disk: Disk, start: int, end: int) -> str:
    """The structure that a stretch of the file lies over, in qemu's order; empty for none."""
    header = disk.header
    for region in reversed(disk.regions):
        if start < region.end and region.offset < end:
            return f"region {region.offset}-{region.end}"
    log = header.log_offset, header.log_offset + header.log_length
    if start < log[1] and log[0] < end:
        return f"region {log[0]}-{log[1]}"
    return "the headers" if start < MIB else ""


def _bitmaps(disk: Disk, chunks: list[int], taken: Ranges) -> Iterator[Finding]:
    """The sector bitmaps that partially present blocks need."""
    for chunk in chunks:
        entry = bitmap_entry(disk, chunk)
        place = entry & OFFSET
        if entry & STATE != BITMAP_PRESENT:
            yield _corruption(f"The sector bitmap of VHDX chunk {chunk} is needed, but not present", 1)
            continue
        over = _over(disk, place, place + MIB)
        if over:
            yield _corruption(f"VHDX region {place}-{place + MIB} overlaps with {over}", 1, place)
        elif place + MIB > disk.source.size:
            yield _corruption(f"The sector bitmap of VHDX chunk {chunk} is not inside the file", 1, place)
        else:
            taken.add(place, MIB)


def _corruption(text: str, count: int, offset: int = -1) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset=offset, count=count)
