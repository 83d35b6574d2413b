"""What a table entry is replaced by where it says what cannot be, while what the guest reads stays as it is.

An entry whose content cannot be read stays as it is: zeros in its place would hide that something is lost.
Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping" and "Extended L2 Entries".
"""

from __future__ import annotations

from instar_qcow2 import layout
from instar_qcow2.layout import ALL, U64, compressed_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_qcow2.header import Header


class Mending:
    """The rules for one image, whose file ends at byte `end` (the end of its last sector).

    They look at nothing but the entry, so that a table may be mended again from what it was before.
    """

    __slots__ = ("_end", "_header", "_zero")

    def __init__(self, header: Header, end: int) -> None:
        self._header = header
        self._end = end
        """The entry that reads as zeros; None where there is none."""
        self._zero: int | None = None
        if header.crypt_method != layout.CRYPT_NONE:
            return  # what lies past the end of the file decrypts to something that nothing else can say
        if header.version >= 3:
            self._zero = layout.ZERO
        elif not header.backing_file_offset:
            self._zero = 0

    def far(self, offset: int, size: int) -> bool:
        """Whether a region passes the end of the file by a cluster or more; all of it past the end reads as zeros."""
        return offset + size - self._end >= self._header.cluster_size

    def l1(self, entry: int) -> int:
        """The L1 entry to be written: the same where nothing is wrong, or nothing can be done."""
        table = entry & layout.OFFSET_MASK
        if table % self._header.cluster_size:
            return entry
        if self.far(table, self._header.cluster_size):
            return 0
        return entry & ~layout.L1_RESERVED

    def l2(self, entry: int, bitmap: int) -> tuple[int, int]:
        """The L2 entry and subcluster bitmap (0 without extended L2 entries) to be written, as l1."""
        header = self._header
        if entry & layout.COMPRESSED:
            if header.data_file or self.far(*compressed_place(header, entry & ~layout.COPIED)):
                return entry, bitmap
            return entry & ~layout.COPIED, 0
        if bitmap >> 32 & bitmap or (bitmap & ALL and not entry & layout.OFFSET_MASK and not header.data_file):
            return entry, bitmap
        sound = entry & ~layout.L2_RESERVED
        offset = sound & layout.OFFSET_MASK
        if not offset or header.data_file:
            return sound, bitmap
        data = bitmap & ALL if header.extended_l2 else not sound & layout.ZERO
        data = data or header.version < 3
        if offset % header.cluster_size:
            return (sound, bitmap) if data else self._unplaced(sound, bitmap)
        if not self.far(offset, header.cluster_size):
            return sound, bitmap
        if not data:
            return self._unplaced(sound, bitmap)
        if self._zero is None:
            return sound, bitmap
        return (0, (bitmap | bitmap << 32) & U64 & ~ALL) if header.extended_l2 else (self._zero, 0)

    def _unplaced(self, entry: int, bitmap: int) -> tuple[int, int]:
        """The entry without a host cluster: only what reads as zeros, and what is not there, is left of it."""
        return entry & ~(layout.COPIED | layout.OFFSET_MASK), bitmap


def is_allocated(header: Header, entry: int) -> bool:
    """Whether a standard L2 entry has a host cluster; in a data file that may be the one at 0."""
    if entry & layout.OFFSET_MASK:
        return True
    return bool(header.data_file and entry & layout.COPIED) and not (entry & layout.ZERO and not header.extended_l2)
