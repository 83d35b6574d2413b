"""Checking the structure of a VDI image: what qemu-img finds, in its words, and notes on what it overlooks."""

from __future__ import annotations

from instar_core.taken import Taken
from instar_core.types import Finding, Severity, Tally
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.info import CUT
from instar_vdi.layout import ALLOCATED_AT, SECTOR, TYPES
from instar_vdi.opening import cut, open_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_vdi.layout import Header


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally without counts, as qemu-img has none for this format.

    The count of allocated blocks can be repaired, as it follows from the block map; a block that two blocks of the
    disk claim cannot be, as nobody knows whose it is.
    """
    header = open_image(image.main)
    repairing = image.options.get("repair") == "all"
    if header.image_type not in TYPES:
        yield Finding(Severity.NOTE, f"The image type {header.image_type} does not exist", offset=0x4C)
    if cut(image.main, header):
        yield Finding(Severity.CORRUPTION, f"ERROR: {CUT}", offset=image.main.size)
        yield Tally()
        return
    if header.blocks and header.offset_bmap >= header.offset_data:
        yield Finding(
            Severity.LEAK,
            "The block map lies behind the blocks, where a change that was stopped left it",
            offset=header.offset_bmap,
            repairable=header.offset_data >= SECTOR + -(-4 * header.blocks // SECTOR) * SECTOR,
        )
    allocated = beyond = last = large = 0
    taken = Taken()
    for block, count, index, step in stretches(image.main, header, 0, header.blocks):
        if index == ABSENT:
            continue
        inside = max(0, min(count, header.blocks - index)) if step else count * (index < header.blocks)
        allocated += inside
        large += count - inside
        last = max(last, index + step * (inside - 1) + 1 if inside else 0)
        if step:
            yield from map(_also, taken.take(index, inside))
            beyond += max(0, inside - _held(image.main, header, index))
        elif inside:
            yield from map(_also, taken.take(index, 1))
            yield from (_also(index) for _ in range(1, count))
            beyond += count if not _held(image.main, header, index) else 0
        for number in range(inside, count):
            yield Finding(
                Severity.CORRUPTION,
                f"ERROR: block index {block + number} too large, is {index + number * step}",
                offset=header.offset_bmap + 4 * (block + number),
            )
    if allocated != header.allocated:
        word = "Repairing" if repairing else "ERROR:"
        yield Finding(
            Severity.CORRUPTION,
            f"{word} allocated blocks mismatch, is {allocated}, should be {header.allocated}",
            offset=ALLOCATED_AT,
            repairable=True,
        )
    if last > max(allocated, header.allocated) and not large:
        text = f"Block {last - 1} lies where the next one will be put, as {header.allocated} are allocated"
        yield Finding(Severity.NOTE, text, offset=ALLOCATED_AT, repairable=True)
    if beyond:
        yield Finding(Severity.NOTE, f"The file ends before {beyond} of its blocks do", count=beyond)
    yield Tally()


def allocated_blocks(source: Source, header: Header) -> int:
    """How many blocks of the disk have a stored one that can exist, as a check counts them."""
    total = 0
    for _, count, index, step in stretches(source, header, 0, header.blocks):
        if index != ABSENT:
            total += max(0, min(count, header.blocks - index)) if step else count * (index < header.blocks)
    return total


def _also(index: int) -> Finding:
    # qemu prints the stored block twice, and not the block of the disk that has it already.
    return Finding(Severity.CORRUPTION, f"ERROR: block index {index} also used by {index}")


def _held(source: Source, header: Header, index: int) -> int:
    """How many stored blocks from `index` on lie in the file as a whole."""
    return max(0, (source.size - header.place(index) + header.block_extra) // header.stored)
