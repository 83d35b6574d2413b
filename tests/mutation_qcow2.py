"""Every field of the headers and tables of qcow2 images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_qcow2 import layout as qcow2
from mutation import Field, integers, record, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.testing.medium import Medium

V2 = [
    "magic",
    "version",
    "backing_file_offset",
    "backing_file_size",
    "cluster_bits",
    "size",
    "crypt_method",
    "l1_size",
    "l1_table_offset",
    "refcount_table_offset",
    "refcount_table_clusters",
    "nb_snapshots",
    "snapshots_offset",
]
V3 = ["incompatible_features", "compatible_features", "autoclear_features", "refcount_order", "header_length"]
SNAPSHOT = [
    "l1_table_offset",
    "l1_size",
    "id_str_size",
    "name_size",
    "date_sec",
    "date_nsec",
    "vm_clock_nsec",
    "vm_state_size",
    "extra_data_size",
]
EXTRA = ["vm_state_size", "virtual_size", "icount"]
BITMAPS = ["nb_bitmaps", "reserved", "bitmap_directory_size", "bitmap_directory_offset"]
BITMAP = [
    "bitmap_table_offset",
    "bitmap_table_size",
    "flags",
    "type",
    "granularity_bits",
    "name_size",
    "extra_data_size",
]
BODIES = {
    qcow2.EXT_BITMAPS: ("bitmaps", qcow2.BITMAPS, BITMAPS),
    qcow2.EXT_CRYPTO: ("crypto", qcow2.CRYPTO, ["offset", "length"]),
    qcow2.EXT_FEATURE_NAMES: ("feature name", qcow2.FEATURE_NAME, ["type", "bit", "name"]),
}


def fields(medium: Medium) -> Iterator[Field]:
    """The fields of a sound qcow2 image."""
    header = dict(zip(V2, qcow2.HEADER_V2.unpack(medium.pread(72, 0)), strict=True))
    cluster = 1 << header["cluster_bits"]
    yield from record("header", qcow2.HEADER_V2, 0, V2)
    length, order, extended = 72, 4, False
    if header["version"] >= 3:
        features, _, _, order, length = qcow2.HEADER_V3.unpack(medium.pread(32, 72))
        extended = bool(features & qcow2.INCOMPAT_EXTL2)
        yield from record("header", qcow2.HEADER_V3, 72, V3)
        yield Field("header.compression_type", 0, qcow2.COMPRESSION_TYPE_OFFSET, 1)
    yield from _extensions(medium, length, header["backing_file_offset"] or cluster, cluster)
    if header["backing_file_offset"]:
        yield Field("backing file name", 0, header["backing_file_offset"], 8)
    yield from _refcounts(medium, header, cluster, order)
    place = header["l1_table_offset"], header["l1_size"]
    yield from _mapping(medium, "", place, cluster, extended)
    at = header["snapshots_offset"]
    for _ in range(header["nb_snapshots"]):
        yield from record("snapshot", qcow2.SNAPSHOT, at, SNAPSHOT)
        l1_offset, l1_size, id_size, name_size, *_, extra = qcow2.SNAPSHOT.unpack(medium.pread(40, at))
        yield from record("snapshot extra", qcow2.SNAPSHOT_EXTRA, at + 40, EXTRA)
        yield Field("snapshot.id", 0, at + 40 + extra, min(8, id_size))
        yield Field("snapshot.name", 0, at + 40 + extra + id_size, min(8, name_size))
        yield from _mapping(medium, "snapshot ", (l1_offset, l1_size), cluster, extended)
        at += -(-(40 + extra + id_size + name_size) // 8) * 8


def _extensions(medium: Medium, start: int, end: int, cluster: int) -> Iterator[Field]:
    at = start
    while at + 8 <= end:
        yield from record("extension", qcow2.EXTENSION, at, ["type", "length"])
        kind, length = qcow2.EXTENSION.unpack(medium.pread(8, at))
        if kind == qcow2.EXT_END:
            return
        if kind in BODIES:
            name, layout, names = BODIES[kind]
            yield from record(f"extension {name}", layout, at + 8, names)
        else:
            yield Field(f"extension {kind:#x} data", 0, at + 8, min(8, length))
        if kind == qcow2.EXT_BITMAPS:
            count, _, _, place = qcow2.BITMAPS.unpack(medium.pread(24, at + 8))
            yield from _bitmaps(medium, count, place)
        if kind == qcow2.EXT_CRYPTO:
            place, _ = qcow2.CRYPTO.unpack(medium.pread(16, at + 8))
            yield from (Field("luks header", 0, place + offset, 4) for offset in range(0, 592, 4))
        at += 8 + -(-length // 8) * 8


def _bitmaps(medium: Medium, count: int, at: int) -> Iterator[Field]:
    for _ in range(count):
        yield from record("bitmap", qcow2.BITMAP_ENTRY, at, BITMAP)
        offset, size, *_, name, extra = qcow2.BITMAP_ENTRY.unpack(medium.pread(24, at))
        yield Field("bitmap.name", 0, at + 24 + extra, min(8, name))
        yield from table("bitmap table entry", integers(medium, offset, size, 8), offset, 8)
        at += -(-(24 + extra + name) // 8) * 8


def _refcounts(medium: Medium, header: dict[str, int], cluster: int, order: int) -> Iterator[Field]:
    place, count = header["refcount_table_offset"], header["refcount_table_clusters"] * cluster // 8
    blocks = integers(medium, place, count, 8)
    yield from table("refcount table entry", blocks, place, 8)
    width = max(1, (1 << order) // 8)
    for block in [block for block in blocks if block][:2]:
        yield from table("refcount", integers(medium, block, cluster // width, width), block, width)


def _mapping(medium: Medium, kind: str, place: tuple[int, int], cluster: int, extended: bool) -> Iterator[Field]:
    l1 = integers(medium, *place, 8)
    yield from table(f"{kind}L1 entry", l1, place[0], 8)
    for entry in [entry for entry in l1 if entry][:3]:
        at = entry & qcow2.OFFSET_MASK
        words = integers(medium, at, cluster // 8, 8)
        if not extended:
            yield from table(f"{kind}L2 entry", words, at, 8)
            continue
        for index in {field.offset for field in table("", words[::2], 0, 1)}:
            yield Field(f"{kind}L2 entry", 0, at + 16 * index, 8)
            yield Field(f"{kind}L2 subcluster bitmap", 0, at + 16 * index + 8, 8)
