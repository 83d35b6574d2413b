"""Compatibility levels: version 3 from 2, which is a matter of the header, and version 2 from 3, which is not.

Version 2 has no zero clusters. Where no backing file shines through, not allocated reads as zeros too; elsewhere zeros
take room. Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put, Zero
from instar_qcow2 import layout
from instar_qcow2.bitmaps import bitmap_pieces, directory_entries
from instar_qcow2.differing import differing
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.level2 import entry_runs, has_compressed, read_l1
from instar_qcow2.rehead import rewriting
from instar_qcow2.settling import Settling
from instar_qcow2.snapshots import snapshot_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header

NARROW = 1 << 32
"""Bytes of machine state from which on version 2 cannot say how many."""


def upgrade(source: Source, header: Header) -> Iterator[Edit]:
    """The image is of version 3."""
    yield from rewriting(source, header, fields={"version": 3, "refcount_order": 4}).edits()


def refuse_downgrade(source: Source, header: Header, size: int) -> None:
    """Raise FormatError, in qemu's words, where version 2 cannot have what the image is; `size` is its disk's."""
    if header.data_file:
        raise FormatError("Cannot downgrade an image with a data file", kind=ErrorKind.UNSUPPORTED)
    zstd = header.compression_type == layout.COMPRESSION_ZSTD
    if zstd and any(has_compressed(source, header, *l1) for l1 in l1_tables(source, header)):
        raise FormatError(
            "Cannot downgrade an image with zstd compression type and existing compressed clusters",
            kind=ErrorKind.UNSUPPORTED,
        )
    features = header.incompatible_features & ~(layout.INCOMPAT_DIRTY | layout.INCOMPAT_COMPRESSION)
    if features:
        raise FormatError(
            f"Cannot downgrade an image with incompatible features {features:#x} set", kind=ErrorKind.UNSUPPORTED
        )
    for entry in snapshot_entries(source, header):
        if entry.snapshot.virtual_size != size or entry.snapshot.state_size >= NARROW:
            raise FormatError("Internal snapshots prevent downgrade of image", kind=ErrorKind.UNSUPPORTED)


def l1_tables(source: Source, header: Header) -> list[tuple[int, int]]:
    """(offset, entries) of the L1 table of the disk and of every snapshot."""
    tables = [(header.l1_table_offset, header.l1_size)]
    return tables + [(entry.l1_table_offset, entry.l1_size) for entry in snapshot_entries(source, header)]


def downgrade(source: Source, header: Header) -> Iterator[Edit]:
    """The image is of version 2 and reads as before, snapshots too. It has no bitmaps any more."""
    clusters = HostClusters(source, header)
    extensions: dict[int, bytes | None] = {}
    if header.extensions.bitmaps is not None or header.extensions.stale_bitmaps:
        extensions[layout.EXT_BITMAPS] = None
        release_bitmaps(source, header, clusters)
    zeros = ZeroClusters(source, header, clusters)
    settling = Settling(source, header, clusters)
    told = {"version": 2, **settling.fields()}
    head = rewriting(source, header, fields=told, extensions=extensions)
    yield from head.before
    for offset in zeros.cleared:
        yield Zero(offset, header.cluster_size)
    yield from settling.rise()
    yield from zeros.puts()
    yield Barrier()
    yield head.commit
    yield from head.after
    yield Barrier()
    yield from settling.fall()
    yield Barrier()


def release_bitmaps(source: Source, header: Header, clusters: HostClusters) -> None:
    """No bitmap refers to anything any more."""
    extension = header.extensions.bitmaps
    if extension is None:
        return
    for entry in directory_entries(source, header):
        for _, value, sound in bitmap_pieces(source, header, entry):
            if sound and value & layout.BITMAP_TABLE_OFFSET_MASK:
                clusters.refer(value >> header.cluster_bits, 1, -1)
        clusters.refer_bytes(entry.table_offset, 8 * entry.table_size, -1)
    clusters.refer_bytes(extension.offset, extension.size, -1)


class ZeroClusters:
    """Every L2 table that has zero clusters, of the disk and of all snapshots, as version 2 says the same.

    `cleared` are places of clusters that were only reserved, and hold zeros before they are content.
    """

    __slots__ = ("_backed", "_clusters", "_header", "_source", "_tables", "cleared")

    def __init__(self, source: Source, header: Header, clusters: HostClusters) -> None:
        """All places are taken."""
        self._source, self._header, self._clusters = source, header, clusters
        self._backed = header.backing_file is not None
        self.cleared: list[int] = []
        self._tables: list[tuple[int, int]] = []
        """(place of the table, place of the first of the clusters that it gets)."""
        seen: set[int] = set()
        for offset, size in l1_tables(source, header):
            for table in read_l1(source, header, offset, size):
                if table and table not in seen:
                    seen.add(table)
                    self._take(table)

    def puts(self) -> Iterator[Put]:
        """The tables, written where they lie. Each entry is old or new."""
        for table, first in self._tables:
            place = first
            data = self._source.read(table, self._header.cluster_size, pad=True)
            made = bytearray(data)
            for at, entry in self._zero_entries(data):
                word, place = self._word(entry, place)
                made[8 * at : 8 * at + 8] = word.to_bytes(8, "big")
            yield from differing(table, data, made)

    def _take(self, table: int) -> None:
        header, clusters, bits = self._header, self._clusters, self._header.cluster_bits
        data = self._source.read(table, header.cluster_size, pad=True)
        entries = list(self._zero_entries(data))
        if not entries:
            return
        if self._backed and header.crypt_method != layout.CRYPT_NONE:
            raise FormatError(
                "Cannot downgrade an encrypted image that has a backing file and zero clusters",
                kind=ErrorKind.UNSUPPORTED,
            )
        shares = clusters[table >> bits]
        wanted = 0
        for _, entry in entries:
            offset = entry & layout.OFFSET_MASK
            if offset and self._stays(entry):
                self.cleared.append(offset)
                continue
            if offset:
                for _ in range(shares):
                    clusters.refer(offset >> bits, 1, -1)
            wanted += self._backed
        place = clusters.append(wanted, shares) if wanted else 0
        self._tables.append((table, place))

    def _zero_entries(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(index, entry) of every zero cluster of an L2 table."""
        for index, count, entry, step in entry_runs(self._header, data):
            if entry & layout.ZERO and not entry & layout.COMPRESSED:
                for at in range(count):
                    yield index + at, entry + step * at

    def _stays(self, entry: int) -> bool:
        """Whether a zero cluster keeps the place that is reserved for it."""
        offset = entry & layout.OFFSET_MASK
        return self._backed and self._clusters.before(offset >> self._header.cluster_bits) == 1

    def _word(self, entry: int, place: int) -> tuple[int, int]:
        """The new entry, and the next place."""
        if not self._backed:
            return 0, place
        offset = entry & layout.OFFSET_MASK
        if offset and self._stays(entry):
            return entry & ~layout.ZERO, place
        copied = layout.COPIED if self._clusters[place >> self._header.cluster_bits] == 1 else 0
        return place | copied, place + self._header.cluster_size
