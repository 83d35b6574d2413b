"""An L2 table whose entries are of many kinds, as columns. Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping".

The table is one large integer, so that arithmetic tells of all entries at once what they are, and which of them do not
continue the one before; only what begins there is looked at.
"""

from __future__ import annotations

import sys
from itertools import compress

from instar_core.lightarray import array
from instar_core.types import NOWHERE, Kind
from instar_qcow2 import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_qcow2.header import Header

WORD = (1 << 64) - 1
NOWHERE_WORD = NOWHERE & WORD
TOP = 1 << 63
UNCOPIED = WORD & ~layout.COPIED
BEGIN = bytes([code >> 2 & 1 for code in range(256)])
"""Whether an entry of a code does not continue the one before it. A code is 0 for data, 1 for zeros and 2 for what is
absent, and 4 more where something begins."""
KIND = bytes([(Kind.DATA, Kind.ZERO, Kind.ABSENT, 0)[code & 3] for code in range(256)])
FEW = 32
"""Where less than one entry in so many begins something, those that do are looked for one by one."""


class Fragments:
    """Pieces that touch one another, of which no two continue one another: where each starts, its kind, its place, and
    the bytes stored if any is compressed; and where the last one ends."""

    __slots__ = ("end", "kinds", "offsets", "starts", "stored")

    def __init__(
        self, starts: list[int], end: int, kinds: bytes, offsets: array[int], stored: list[int] | None = None
    ) -> None:
        self.starts = starts
        self.end = end
        self.kinds = kinds
        self.offsets = offsets
        self.stored = stored


class Masks:
    """What tables of `count` entries of clusters of `size` bytes are computed with: the same word for each entry."""

    __slots__ = ("below", "one", "refused", "shifted", "top", "uncopied")

    def __init__(self, count: int, size: int, version: int) -> None:
        self.one = int.from_bytes(b"\0\0\0\0\0\0\0\1" * count, "big")
        self.top = self.one << 63
        self.below = self.top - self.one
        self.shifted = self.one * (TOP - size)
        self.uncopied = self.one * UNCOPIED
        unknown = size - 1 | layout.L2_RESERVED
        self.refused = self.one * (unknown & ~layout.ZERO if version >= 3 else unknown)


_masks: dict[tuple[int, int, int], Masks] = {}


def masks(count: int, size: int, version: int) -> Masks:
    """The masks for such tables, made once for the tables of an image."""
    key = count, size, version
    made = _masks.get(key)
    if made is None:
        if len(_masks) >= 2:
            _masks.clear()
        made = _masks[key] = Masks(count, size, version)
    return made


def fragments(header: Header, data: bytes, base: int) -> Fragments | None:
    """The pieces of a table of entries of 64 bits whose first maps `base`, without an external data file.

    None where some entry is no ordinary one: those that must be refused are found one by one.
    """
    count, size = len(data) // 8, header.cluster_size
    known = masks(count, size, header.version)
    one, top = known.one, known.top
    table = int.from_bytes(data, "big") & known.uncopied
    coded = table >> 62 & one
    plain = table ^ (table & coded * WORD) if coded else table
    if plain & known.refused:
        return None
    # From here on a word is a fact of an entry, 1 where it holds. Places have 56 bits, so that nothing carries over.
    zero = plain & one
    differs = plain + known.shifted - (plain >> 64) ^ top  # 0 where an entry is the one before it and a cluster
    jumps = ((differs & known.below) + known.below | differs) >> 63 & one
    placed = ((plain ^ zero) + known.below) >> 63 & one
    nowhere = placed ^ one
    begins = placed & placed >> 64 & jumps | placed ^ placed >> 64 | nowhere & nowhere >> 64 & (zero ^ zero >> 64)
    begins |= 1 << 64 * (count - 1)
    absent = nowhere ^ (nowhere & zero)
    if coded:
        begins |= coded | coded >> 64
        absent ^= absent & coded
    codes = (zero | absent << 1 | begins << 2).to_bytes(8 * count, "big")[7::8]
    return _picked(header, (codes, plain ^ zero | nowhere * NOWHERE_WORD, table if coded else 0), base, size)


def _picked(header: Header, told: tuple[bytes, int, int], base: int, size: int) -> Fragments:
    """What stands where something begins, of the codes, places and (if any is compressed) entries of a table."""
    codes, places, table = told
    count = len(codes)
    begin = codes.translate(BEGIN)
    offsets = words("q", places, count)
    many = begin.count(1)
    if many * FEW < count:
        found, at = [], 0
        while at >= 0:
            found.append(at)
            at = begin.find(1, at + 1)
        starts = [base + at * size for at in found]
        kinds = bytes([codes[at] for at in found])
        offsets = array("q", [offsets[at] for at in found])
    else:
        starts = list(compress(range(base, base + count * size, size), begin))
        kinds = bytes(compress(codes, begin))
        offsets = array("q", list(compress(offsets, begin)))
    kinds = kinds.translate(KIND)
    stored: list[int] | None = None
    if table:
        entries = compress(words("Q", table, count), begin)
        stored = [0] * many
        for at, entry in enumerate(entries):
            if entry & layout.COMPRESSED:
                offsets[at], stored[at] = layout.compressed_place(header, entry)
    return Fragments(starts, base + count * size, kinds, offsets, stored)


def words(code: str, table: int, count: int) -> array[int]:
    """The entries of a table of 64 bits each, whose bytes are those of a large number."""
    made = array(code, table.to_bytes(8 * count, "big"))
    if sys.byteorder == "little":
        made.byteswap()
    return made
