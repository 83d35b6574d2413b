"""Checking the structure of a compressed loop image; qemu-img has no check for it.

Blocks are not decoded: what is wrong inside one is an error when it is read.
"""

from __future__ import annotations

from instar_cloop import layout
from instar_cloop.header import offsets, read_header
from instar_core.types import Finding, Severity, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then the Tally, which counts blocks.

    Blocks that are empty, begin in the table, or end past the end of the file are corruptions. Raises FormatError,
    as info does, where the offsets make no sense at all.
    """
    source = image.main
    header = read_header(source)
    done = 0
    end = header.table_end
    for base, table in offsets(source, header, 0, header.n_blocks):
        if not base and table[0] > header.table_end:
            text = f"{table[0] - header.table_end} bytes between the table of offsets and block 0 belong to nothing"
            yield Finding(Severity.NOTE, text, header.table_end)
        done = base + len(table) - 1
        end = table[-1]
        # A sound table is told from another without a loop over its entries.
        if header.table_end <= table[0] and end <= source.size and min(map(int.__sub__, table[1:], table)):
            continue
        for number in range(len(table) - 1):
            what = ""
            if table[number + 1] == table[number]:
                what = "is empty"
            elif table[number] < header.table_end:
                what = "begins in the table of offsets"
            elif table[number + 1] > source.size:
                what = "ends past the end of the file"
            if what:
                where = layout.OFFSETS + (base + number) * layout.ENTRY
                yield Finding(Severity.CORRUPTION, f"ERROR block {base + number} {what}", where)
    if done < header.n_blocks:
        text = f"ERROR block {done} and all after it are empty"
        yield Finding(Severity.CORRUPTION, text, source.size, header.n_blocks - done)
    if end < source.size and header.n_blocks:
        yield Finding(Severity.NOTE, f"{source.size - end} bytes after the last block belong to nothing", end)
    yield Tally(total=header.n_blocks, allocated=header.n_blocks, compressed=header.n_blocks)
