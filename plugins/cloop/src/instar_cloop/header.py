"""Reading header and table of offsets."""

from __future__ import annotations

from instar_cloop import layout, limits
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Header(NamedTuple):
    """A header whose sizes are possible. `block_size` is bytes, a multiple of 512."""

    block_size: int
    n_blocks: int

    @property
    def table_end(self) -> int:
        """Offset of the first byte that can belong to a block."""
        return layout.OFFSETS + (self.n_blocks + 1) * layout.ENTRY


def read_header(source: Source) -> Header:
    """The header. What qemu-img refuses raises FormatError, in its words and with the same fault first.

    The preamble is not looked at: whoever names the format may read files of other tools, whose script differs.
    """
    block_size, n_blocks = source.unpack(layout.HEADER, layout.HEADER_OFFSET, pad=True)
    if not block_size:
        raise FormatError("block_size cannot be zero", offset=layout.HEADER_OFFSET)
    if block_size % layout.SECTOR:
        raise FormatError(f"block_size {block_size} must be a multiple of {layout.SECTOR}", offset=layout.HEADER_OFFSET)
    if block_size > limits.BLOCK:
        raise FormatError(
            f"block_size {block_size} must be {limits.BLOCK >> 20} MB or less",
            kind=ErrorKind.LIMIT,
            offset=layout.HEADER_OFFSET,
        )
    if n_blocks > limits.BLOCKS:
        raise FormatError(
            f"n_blocks {n_blocks} must be {limits.BLOCKS} or less",
            kind=ErrorKind.LIMIT,
            offset=layout.HEADER_OFFSET + 4,
        )
    if (n_blocks + 1) * layout.ENTRY > limits.OFFSETS:
        raise FormatError(
            "image requires too many offsets, try increasing block size",
            kind=ErrorKind.LIMIT,
            offset=layout.HEADER_OFFSET + 4,
        )
    return Header(block_size, n_blocks)


def offsets(source: Source, header: Header, first: int, last: int) -> Iterator[tuple[int, Sequence[int]]]:
    """(number of the first block, offsets) for the blocks from `first` up to `last`, a piece at a time.

    A piece has one offset more than blocks, the end of its last. What lies past the end of the file is 0, as in qemu.
    Raises FormatError (CORRUPT), in qemu's words, for offsets that descend or leave a block too much room.
    """
    for start in range(first, last, limits.PIECE):
        count = min(limits.PIECE, last - start)
        where = layout.OFFSETS + start * layout.ENTRY
        if where >= source.size:
            return
        table = source.table(layout.ENTRY, where, count + 1, pad=True)
        if any(table) and not _sound(list(table)):
            raise _fault(table, start)
        yield start, table


def _sound(table: list[int]) -> bool:
    """Whether the offsets ascend, none far from the one before; without a loop over the entries."""
    return sorted(table) == table and max(map(int.__sub__, table[1:], table)) <= limits.STORED


def _fault(table: Sequence[int], start: int) -> FormatError:
    for number in range(1, len(table)):
        what = ""
        if table[number] < table[number - 1]:
            what = "offsets not monotonically increasing"
        elif table[number] - table[number - 1] > limits.STORED:
            what = "invalid compressed block size"
        if what:
            return FormatError(
                f"{what} at index {start + number}, image file is corrupt",
                kind=ErrorKind.CORRUPT,
                offset=layout.OFFSETS + (start + number) * layout.ENTRY,
            )
    raise AssertionError("the table is sound")
