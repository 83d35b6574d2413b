"""The fields of images of every further format: a function of each from the files of a sound image to its fields.

What a layout module of a plugin does not name, because it is a text or a bit map, is declared here by its place.
"""

from __future__ import annotations

import importlib
import struct
from typing import TYPE_CHECKING

from mutation import Field, integers, record, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instar_core.testing.medium import Medium

TABLE = 4096
"""Entries of a table that are looked at."""


def layout(format: str) -> object:
    """The layout module of a plugin."""
    return importlib.import_module(f"instar_{format}.layout")


def vpc(media: Sequence[Medium]) -> Iterator[Field]:
    """Footer and its copy, header, parent locators and names, block allocation table, sector bitmaps."""
    at, medium = layout("vpc"), media[0]
    size = medium.size
    end = size - 512 if medium.pread(8, max(0, size - 512)) == at.COOKIE else size - 511
    for name, place in (("footer", end), ("footer copy", 0)):
        if medium.pread(8, place) == at.COOKIE:
            yield from record(name, at.FOOTER, place, at.Footer._fields)
    if medium.pread(8, 0) != at.COOKIE:
        return
    start = int.from_bytes(medium.pread(8, 16), "big")
    yield from record("header", at.HEADER, start, at.Header._fields)
    head = at.Header._make(at.HEADER.unpack(medium.pread(at.HEADER.size, start)))
    for number in range(at.LOCATORS):
        place = start + at.LOCATORS_AT + number * at.LOCATOR.size
        yield from record("locator", at.LOCATOR, place, at.Locator._fields)
        _, _, length, name = at.LOCATOR.unpack(medium.pread(at.LOCATOR.size, place))
        yield Field("parent name", 0, name, min(8, length))
    entries = integers(medium, head.table_offset, min(head.max_table_entries, TABLE), 4)
    used = [0 if entry == at.UNUSED else entry for entry in entries]
    yield from table("block allocation table entry", used, head.table_offset, 4)
    yield from (Field("sector bitmap", 0, entry * at.SECTOR, 4) for entry in [entry for entry in used if entry][:4])


def vhdx(media: Sequence[Medium]) -> Iterator[Field]:
    """File identifier, headers, region tables, log, metadata, parent locator, block allocation table, bitmaps."""
    at, medium = layout("vhdx"), media[0]
    yield Field("file identifier", 0, 0, 8)
    names = "magic checksum sequence file_write_guid data_write_guid log_guid log_version version log_length log_offset"
    for number, place in enumerate(at.HEADERS):
        yield from record(f"header {number}", at.HEADER, place, names.split())
    for number, place in enumerate(at.REGION_TABLES):
        yield from record(f"region table {number}", at.REGION_HEAD, place, ["magic", "checksum", "count", "reserved"])
        for entry in range(2):
            where = place + at.REGION_HEAD.size + entry * at.REGION_ENTRY.size
            yield from record(f"region {number}", at.REGION_ENTRY, where, ["guid", "offset", "length", "required"])
    yield from _vhdx_log(at, medium)
    regions = {
        medium.pread(16, place): int.from_bytes(medium.pread(8, place + 16), "little")
        for place in (at.REGION_TABLES[0] + at.REGION_HEAD.size + entry * at.REGION_ENTRY.size for entry in range(2))
    }
    yield from _vhdx_metadata(at, medium, regions[at.METADATA_REGION])
    place = regions[at.BAT_REGION]
    entries = integers(medium, place, 64, 8, "little")
    yield from table("block allocation table entry", entries, place, 8, "little")
    for entry in [entry & at.OFFSET for entry in entries if entry & at.STATE == at.BITMAP_PRESENT][:4]:
        yield Field("sector bitmap", 0, entry, 8, "little")


def _vhdx_log(at: object, medium: Medium) -> Iterator[Field]:
    head = at.HEADER.unpack(medium.pread(at.HEADER.size, at.HEADERS[0]))
    length, start = head[8], head[9]
    for place in range(start, start + length, at.LOG_SECTOR):
        if medium.pread(4, place) != at.LOG_MAGIC:
            continue
        names = "magic checksum entry_length tail sequence descriptors reserved log_guid flushed last"
        yield from record("log entry", at.LOG_ENTRY, place, names.split())
        where = place + at.LOG_ENTRY.size
        for _ in range(4):
            if medium.pread(4, where) not in (at.ZERO_MAGIC, at.DATA_MAGIC):
                break
            yield from record("log descriptor", at.DESCRIPTOR, where, ["magic", "tail", "head", "offset", "sequence"])
            where += at.DESCRIPTOR.size
        sector = place + at.LOG_SECTOR
        yield from record("log data sector", at.DATA_HEAD, sector, ["magic", "sequence_high"])
        yield Field("log data sector.sequence_low", 0, sector + at.LOG_SECTOR - 4, 4, "little")


def _vhdx_metadata(at: object, medium: Medium, place: int) -> Iterator[Field]:
    yield from record("metadata", at.METADATA_HEAD, place, ["magic", "reserved", "count", "reserved2"])
    _, _, count, _ = at.METADATA_HEAD.unpack(medium.pread(at.METADATA_HEAD.size, place))
    for number in range(count):
        entry = place + at.METADATA_HEAD.size + number * at.METADATA_ENTRY.size
        yield from record("metadata entry", at.METADATA_ENTRY, entry, ["guid", "offset", "length", "flags", "reserved"])
        guid, offset, length, _, _ = at.METADATA_ENTRY.unpack(medium.pread(at.METADATA_ENTRY.size, entry))
        where = place + offset
        if guid != at.PARENT_LOCATOR_ITEM:
            kind = {at.FILE_PARAMETERS_ITEM: "file parameters", at.VIRTUAL_DISK_SIZE_ITEM: "virtual disk size"}
            step = 4 if length % 8 else 8
            for part in range(0, length, 4 if guid == at.FILE_PARAMETERS_ITEM else step):
                width = 4 if guid == at.FILE_PARAMETERS_ITEM else step
                yield Field(f"metadata {kind.get(guid, 'item')}", 0, where + part, width, "little")
            continue
        yield from record("parent locator", at.LOCATOR_HEAD, where, ["type", "reserved", "count"])
        _, _, pairs = at.LOCATOR_HEAD.unpack(medium.pread(at.LOCATOR_HEAD.size, where))
        for pair in range(pairs):
            each = where + at.LOCATOR_HEAD.size + pair * at.LOCATOR_ENTRY.size
            names = ["key_offset", "value_offset", "key_length", "value_length"]
            yield from record("parent locator entry", at.LOCATOR_ENTRY, each, names)
            key, value, *_ = at.LOCATOR_ENTRY.unpack(medium.pread(at.LOCATOR_ENTRY.size, each))
            yield Field("parent locator text", 0, where + key, 8, "little")
            yield Field("parent locator text", 0, where + value, 8, "little")


def vdi(media: Sequence[Medium]) -> Iterator[Field]:
    """Header and block map."""
    at, medium = layout("vdi"), media[0]
    yield from record("header", at.HEADER, 0, at.Header._fields)
    head = at.Header._make(at.HEADER.unpack(medium.pread(at.HEADER.size, 0)))
    entries = integers(medium, head.offset_bmap, min(head.blocks, TABLE), 4, "little")
    used = [0 if entry == at.FREE else entry + 1 for entry in entries]
    yield from table("block map entry", used, head.offset_bmap, 4, "little")


QED = [
    *("magic", "cluster_size", "table_size", "header_size", "features", "compat_features", "autoclear_features"),
    *("l1_table_offset", "image_size", "backing_filename_offset", "backing_filename_size"),
]


def qed(media: Sequence[Medium]) -> Iterator[Field]:
    """Header, name of the backing file, tables of both levels."""
    at, medium = layout("qed"), media[0]
    yield from record("header", at.HEADER, 0, QED)
    head = dict(zip(QED, at.HEADER.unpack(medium.pread(at.HEADER.size, 0)), strict=True))
    yield Field("backing file name", 0, head["backing_filename_offset"], min(8, head["backing_filename_size"]))
    entries = head["cluster_size"] * head["table_size"] // at.ENTRY
    place = head["l1_table_offset"]
    first = integers(medium, place, min(entries, TABLE), 8, "little")
    yield from table("L1 entry", first, place, 8, "little")
    for entry in [entry for entry in first if entry][:3]:
        yield from table("L2 entry", integers(medium, entry, min(entries, TABLE), 8, "little"), entry, 8, "little")


def qcow(media: Sequence[Medium]) -> Iterator[Field]:
    """Header, name of the backing file, tables of both levels."""
    at, medium = layout("qcow"), media[0]
    yield from record("header", at.HEADER, 0, at.Fields._fields)
    head = at.Fields._make(at.HEADER.unpack(medium.pread(at.HEADER.size, 0)))
    yield Field("backing file name", 0, head.backing_file_offset, min(8, head.backing_file_size))
    count = -(-head.size // (1 << head.cluster_bits + head.l2_bits))
    first = integers(medium, head.l1_table_offset, min(count, TABLE), 8)
    yield from table("L1 entry", first, head.l1_table_offset, 8)
    for entry in [entry for entry in first if entry][:3]:
        yield from table("L2 entry", integers(medium, entry, 1 << head.l2_bits, 8), entry, 8)


def parallels(media: Sequence[Medium]) -> Iterator[Field]:
    """Header, block allocation table, format extension with its bitmaps."""
    at, medium = layout("parallels"), media[0]
    yield from record("header", at.HEADER, 0, at.Header._fields)
    head = at.Header._make(at.HEADER.unpack(medium.pread(at.HEADER.size, 0)))
    entries = integers(medium, at.HEADER.size, min(head.bat_entries, TABLE), 4, "little")
    yield from table("block allocation table entry", entries, at.HEADER.size, 4, "little")
    if not head.ext_off:
        return
    place = head.ext_off * at.SECTOR
    yield from record("extension", at.EXTENSION, place, ["magic", "md5"])
    place += at.EXTENSION.size
    while True:
        yield from record("feature", at.FEATURE, place, ["magic", "flags", "size", "unused"])
        magic, _, size, _ = at.FEATURE.unpack(medium.pread(at.FEATURE.size, place))
        place += at.FEATURE.size
        if magic == at.END_OF_FEATURES:
            return
        yield from record("bitmap", at.BITMAP, place, ["size", "id", "granularity", "l1_size"])
        first = place + at.BITMAP.size
        count = (size - at.BITMAP.size) // 8
        yield from table("bitmap L1 entry", integers(medium, first, count, 8, "little"), first, 8, "little")
        place += -(-size // 8) * 8


def bochs(media: Sequence[Medium]) -> Iterator[Field]:
    """Header, catalog, bitmaps of the extents."""
    at, medium = layout("bochs"), media[0]
    names = ["magic", "type", "subtype", "version", "header", "catalog", "bitmap", "extent"]
    yield from record("header", at.HEADER, 0, names)
    *_, version, header, catalog, bitmap, extent = at.HEADER.unpack(medium.pread(at.HEADER.size, 0))
    yield Field("header.disk", 0, at.DISK_V1 if version == at.VERSIONS[0] else at.DISK_V2, 8, "little")
    entries = integers(medium, header, min(catalog, TABLE), 4, "little")
    used = [0 if entry == at.UNALLOCATED else entry + 1 for entry in entries]
    yield from table("catalog entry", used, header, 4, "little")
    unit = -(-bitmap // at.SECTOR) * at.SECTOR + -(-extent // at.SECTOR) * at.SECTOR
    for entry in [entry - 1 for entry in used if entry][:4]:
        yield Field("sector bitmap", 0, header + 4 * catalog + entry * unit, 8, "little")


def cloop(media: Sequence[Medium]) -> Iterator[Field]:
    """Preamble, header, table of offsets, beginnings of blocks."""
    at, medium = layout("cloop"), media[0]
    yield Field("preamble", 0, 0, 8)
    yield from record("header", at.HEADER, at.HEADER_OFFSET, ["block_size", "n_blocks"])
    _, count = at.HEADER.unpack(medium.pread(at.HEADER.size, at.HEADER_OFFSET))
    offsets = integers(medium, at.OFFSETS, count + 1, 8)
    yield from table("offset", offsets, at.OFFSETS, 8)
    yield from (Field("block", 0, offset, 4) for offset in offsets[:4])


def iso(media: Sequence[Medium]) -> Iterator[Field]:
    """Volume descriptors: numbers of both orders, the record of the root directory, texts."""
    at, medium = layout("iso"), media[0]
    both = {"volume_space_size": (80, 4), "volume_set_size": (120, 2), "volume_sequence_number": (124, 2)}
    both |= {"logical_block_size": (128, 2), "path_table_size": (132, 4)}
    both |= {"root location": (158, 4), "root data_length": (166, 4)}
    single = {
        "type_l_path_table": (140, 4, "little"),
        "type_m_path_table": (148, 4, "big"),
        "root length": (156, 1, "big"),
    }
    single |= {"volume_identifier": (40, 8, "big"), "escape_sequences": (88, 8, "big"), "creation": (813, 8, "big")}
    single |= {"publisher_identifier": (318, 8, "big"), "root flags": (181, 1, "big")}
    single |= {"root length": (156, 1, "big")}
    for place in range(at.FIRST, medium.size - at.LOGICAL_SECTOR, at.LOGICAL_SECTOR):
        kind, standard = medium.pread(1, place), medium.pread(5, place + 1)
        if standard != at.STANDARD:
            return
        yield from (Field(f"descriptor {name}", 0, place + skip, width) for name, skip, width in (
            ("type", 0, 1), ("standard_identifier", 1, 5), ("version", 6, 1)))  # fmt: skip
        if kind[0] == at.DescriptorType.BOOT:
            yield Field("boot record.system", 0, place + 7, 8)
            yield Field("boot record.catalog", 0, place + 71, 4, "little")
        if kind[0] in (at.DescriptorType.PRIMARY, at.DescriptorType.SUPPLEMENTARY):
            for name, (skip, width) in both.items():
                yield Field(f"volume.{name}", 0, place + skip, width, "little")
                yield Field(f"volume.{name}", 0, place + skip + width, width)
            for name, (skip, width, order) in single.items():
                yield Field(f"volume.{name}", 0, place + skip, width, order)


def dmg(media: Sequence[Medium]) -> Iterator[Field]:
    """Trailer, and the resource fork with its block tables where there is one. For property lists: mutation_texts."""
    at, medium = layout("dmg"), media[0]
    place = medium.size - at.KOLY.size
    yield from record("koly", at.KOLY, place, at.Koly._fields)
    head = at.Koly._make(at.KOLY.unpack(medium.pread(at.KOLY.size, place)))
    if not head.rsrc_fork_length:
        return
    start, fork = head.rsrc_fork_offset, medium.pread(head.rsrc_fork_length, head.rsrc_fork_offset)
    yield from (Field("resource fork.header", 0, start + skip, 4) for skip in range(0, 16, 4))
    (index,) = struct.unpack_from(">4xI", fork)
    yield from (Field("resource fork.map", 0, start + index + skip, 2) for skip in range(24, 38, 2))
    for number in range(3):
        reference = start + index + 38 + 12 * number
        for name, skip, width in (("id", 0, 2), ("name", 2, 2), ("offset", 4, 4)):
            yield Field(f"resource fork.reference {name}", 0, reference + skip, width)
    found = fork.find(at.MISH_MAGIC)
    while found >= 0:
        yield Field("resource fork.length", 0, start + found - 4, 4)
        yield from record("block table", at.MISH, start + found, at.Mish._fields)
        count = at.MISH.unpack_from(fork, found)[-1]
        for number in range(min(count, 6)):
            chunk = start + found + at.MISH.size + number * at.CHUNK.size
            yield from record("chunk", at.CHUNK, chunk, ["type", "comment", "sector", "sectors", "offset", "length"])
        found = fork.find(at.MISH_MAGIC, found + 4)


def luks(media: Sequence[Medium]) -> Iterator[Field]:
    """LUKS1: header and key slots. LUKS2: both binary headers; see mutation_texts for their JSON."""
    medium = media[0]
    if medium.pread(2, 6) == b"\0\1":
        at = importlib.import_module("instar_core.luks1.layout")
        names = "magic version cipher-name cipher-mode hash-spec payload-offset key-bytes mk-digest mk-digest-salt"
        yield from record("header", at.PHDR, 0, [*names.split(), "mk-digest-iterations", "uuid"])
        for slot in range(at.NUMKEYS):
            names = ["active", "iterations", "salt", "key-material-offset", "stripes"]
            yield from record("key slot", at.KEY_SLOT, at.PHDR.size + slot * at.KEY_SLOT.size, names)
        return
    at = importlib.import_module("instar_luks.luks2.layout")
    names = "magic version hdr_size seqid label checksum_alg salt uuid subsystem hdr_offset padding csum"
    size = int.from_bytes(medium.pread(8, 8), "big")
    for name, place in (("first", 0), ("second", size)):
        yield from record(f"{name} header", at.BINARY, place, names.split())


FIELDS: dict[str, Callable[[Sequence[Medium]], Iterator[Field]]] = {
    one.__name__: one for one in (vpc, vhdx, vdi, qed, qcow, parallels, bochs, cloop, iso, dmg, luks)
}
"""By the names of the formats."""
