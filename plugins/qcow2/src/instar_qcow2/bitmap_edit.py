"""Changing the dirty bitmaps of an image in place. Source: docs/interop/qcow2.txt of QEMU, "Bitmaps".

Bits, tables and directory that change get new places, and so do refcounts; one write of the header makes all of it
current, so that a bitmap never says that something is clean which it did not say before or was asked to say.
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Punch
from instar_qcow2 import layout, limits
from instar_qcow2.bitmap_merge import Bits
from instar_qcow2.bitmaps import DirectoryEntry, bitmap_pieces, directory_entries, encoded, table_entries
from instar_qcow2.header import read_header
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.shadow import big_endian, place, switch
from instar_qcow2.snapshot_edit import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import BitmapEdit, Edit, Run
    from instar_qcow2.header import Header

FINEST_DEFAULT, COARSEST_DEFAULT = 12, 16
"""Log2 of the bounds of the granularity where none is wanted: the cluster size lies between them or is cut."""

NEW = 0
"""The place of a table that has none yet."""


def edit_bitmaps(image: Image, request: BitmapEdit, runs: Iterable[Run]) -> Iterator[Edit]:
    """All actions of the request are done, and become current together; every other bitmap is as before.

    Raises FormatError in the words that qemu has for it, before any edit: MISSING for a bitmap that is not there,
    CORRUPT for one that nobody may rely on, UNSUPPORTED where the image cannot have any.
    """
    source = image.main
    header = read_header(source)
    refuse(header)
    bitmaps = Bitmaps(source, header, request.name)
    for action in (request.action, *request.further):
        if action == "add":
            bitmaps.add(request.granularity)
        elif action == "merge":
            yield from bitmaps.bits().merge(runs)
        elif action in ("remove", "remove-all"):
            bitmaps.remove(everything=action == "remove-all")
        elif action == "clear":
            bitmaps.bits().clear()
        elif action in ("enable", "disable"):
            bitmaps.enable(action == "enable")
        else:
            raise FormatError(f"qcow2 bitmaps have no action {action!r}", kind=ErrorKind.UNSUPPORTED)
    yield from bitmaps.commit()


class Bitmaps:
    """The bitmap directory as it will be, with the one bitmap in it that is edited."""

    def __init__(self, source: Source, header: Header, name: str) -> None:
        self._source, self._header, self._name = source, header, name
        self._before = list(directory_entries(source, header))
        self._entries = self._before[:]
        self._clusters = HostClusters(source, header)
        self._bits: Bits | None = None

    def add(self, granularity: int) -> None:
        """There is one more, enabled, in which nothing is dirty. `granularity` is bytes, or 0 for the usual one."""
        header, name = self._header, self._name.encode("utf-8", "surrogateescape")
        bits = granularity.bit_length() - 1
        if not granularity:
            bits = min(max(header.cluster_bits, FINEST_DEFAULT), COARSEST_DEFAULT)
        if header.version < 3:
            raise FormatError("Cannot store dirty bitmaps in qcow2 v2 files", kind=ErrorKind.UNSUPPORTED)
        if len(name) > limits.BITMAP_NAME:
            raise FormatError(f"Name length exceeds maximum ({limits.BITMAP_NAME} characters)", kind=ErrorKind.LIMIT)
        if not name or any(entry.name == self._name for entry in self._entries):
            raise FormatError(f"Bitmap already exists: {self._name}" if name else "Bitmap name cannot be empty")
        finest, coarsest = limits.BITMAP_GRANULARITY_BITS
        if not finest <= bits <= coarsest or (granularity and granularity != 1 << bits):
            raise FormatError("Granularity must be power of 2 and at least 512")
        entries = table_entries(header, bits)
        if not entries:
            raise FormatError("Cannot store a dirty bitmap of an empty disk", kind=ErrorKind.UNSUPPORTED)
        if entries > limits.BITMAP_TABLE or entries << header.cluster_bits > limits.BITMAP_BYTES:
            raise FormatError(
                "Too much space will be occupied by the bitmap. Use larger granularity", kind=ErrorKind.LIMIT
            )
        if len(self._entries) >= limits.BITMAPS:
            raise FormatError("Maximum number of persistent bitmaps is already reached", kind=ErrorKind.LIMIT)
        self._entries.append(DirectoryEntry(NEW, entries, layout.BITMAP_AUTO, bits, self._name))
        if sum(len(encoded(entry)) for entry in self._entries) > limits.BITMAP_DIRECTORY:
            raise FormatError("Not enough space in the bitmap directory", kind=ErrorKind.LIMIT)
        self._bits = Bits(self._source, header, self._clusters, bits, array("Q", bytes(8 * entries)))

    def remove(self, *, everything: bool) -> None:
        """It is gone, or every one is; those in use by another program too."""
        index = -1 if everything else self._index()
        gone = self._entries if everything else self._entries[index : index + 1]
        self._entries = [] if everything else self._entries[:index] + self._entries[index + 1 :]
        header, clusters = self._header, self._clusters
        for entry in gone:
            if self._bits is not None and entry.name == self._name:
                self._bits.clear()
                self._bits = None
            else:
                for _, value, good in bitmap_pieces(self._source, header, entry):
                    offset = value & layout.BITMAP_TABLE_OFFSET_MASK
                    if good and offset:
                        clusters.refer(offset >> header.cluster_bits, 1, -1)
            if entry.table_offset != NEW:
                clusters.refer_bytes(entry.table_offset, 8 * entry.table_size, -1)

    def enable(self, wanted: bool) -> None:
        """It records further changes, or does not."""
        index = self._usable()
        entry = self._entries[index]
        flags = entry.flags | layout.BITMAP_AUTO if wanted else entry.flags & ~layout.BITMAP_AUTO
        self._entries[index] = entry._replace(flags=flags)

    def bits(self) -> Bits:
        """Its bits, to be changed."""
        entry = self._entries[self._usable()]
        if self._bits is None:
            if entry.table_size != table_entries(self._header, entry.granularity_bits):
                raise FormatError(f"Could not read bitmap '{entry.name}' from image: Invalid argument")
            table = array("Q", bytes(8 * entry.table_size))
            for at, value, _ in bitmap_pieces(self._source, self._header, entry):
                table[at] = value
            self._bits = Bits(self._source, self._header, self._clusters, entry.granularity_bits, table)
        return self._bits

    def commit(self) -> Iterator[Edit]:
        """What changed gets its places, and then becomes current."""
        header, clusters = self._header, self._clusters
        puts: list[tuple[int, bytes]] = []
        if (self._bits is not None and self._bits.changed) or (self._entries and self._entries[-1].table_offset == NEW):
            puts.append(self._table(self._index()))
        if self._entries == self._before:
            return
        extension = header.extensions.bitmaps
        if extension is not None:
            clusters.refer_bytes(extension.offset, extension.size, -1)
        data = b"".join(map(encoded, self._entries))
        offset = place(clusters, header, len(data))
        if data:
            puts.append((offset, data))
        autoclear = header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW
        named: bytes | None = None
        if self._entries:
            autoclear |= layout.AUTOCLEAR_BITMAPS
            named = layout.BITMAPS.pack(len(self._entries), 0, len(data), offset)
        yield from switch(
            self._source,
            header,
            clusters,
            None,
            puts,
            fields={"autoclear_features": autoclear},
            extensions={layout.EXT_BITMAPS: named},
        )
        for at, length in clusters.freed():
            yield Punch(at, length)

    def _table(self, index: int) -> tuple[int, bytes]:
        """The new place of the edited bitmap's table, and what is stored there."""
        entry = self._entries[index]
        data = big_endian(self.bits().table)
        if entry.table_offset != NEW:
            self._clusters.refer_bytes(entry.table_offset, 8 * entry.table_size, -1)
        offset = place(self._clusters, self._header, len(data))
        self._entries[index] = entry._replace(table_offset=offset)
        return offset, data

    def _index(self) -> int:
        for index, entry in enumerate(self._entries):
            if entry.name == self._name:
                return index
        raise FormatError(f"Dirty bitmap '{self._name}' not found", kind=ErrorKind.MISSING)

    def _usable(self) -> int:
        index = self._index()
        if self._entries[index].flags & layout.BITMAP_IN_USE:
            raise FormatError(f"Bitmap '{self._name}' is inconsistent and cannot be used", kind=ErrorKind.CORRUPT)
        return index
