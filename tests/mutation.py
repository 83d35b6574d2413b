"""Every field of the headers and tables of qcow2 and vmdk images, and hostile values for them.

Fields are declared from the plugins' layout modules and found in an image by following its tables. They are grouped in
strata (all L2 entries are one), and mutations go round the strata, so that each gets as many as any other.
"""

from __future__ import annotations

import re
from struct import Struct, calcsize
from typing import TYPE_CHECKING, NamedTuple

from instar_qcow2 import layout as qcow2
from instar_vmdk import layout as vmdk

from instar_core.testing.hostile import EDGES, Mutation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from instar_core.testing.medium import Medium

SHOWN = 6
"""Entries of one table that are fields."""


class Field(NamedTuple):
    """An integer, or the start of a text, in one file of an image."""

    stratum: str
    device: int
    offset: int
    width: int
    order: str = "big"


def record(stratum: str, layout: Struct, base: int, names: Sequence[str], device: int = 0) -> Iterator[Field]:
    """The fields of a structure, by their names; a text of more than eight bytes counts with its first eight."""
    order = "little" if layout.format.startswith("<") else "big"
    at = base
    found = []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", layout.format[1:]):
        for _ in range(1 if code in "sx" or not count else int(count)):
            width = int(count or 1) if code in "sx" else calcsize(f"={code}")
            if code != "x":
                found.append((at, min(width, 8)))
            at += width
    assert len(found) == len(names), (layout.format, names)
    for name, (offset, width) in zip(names, found, strict=True):
        yield Field(f"{stratum}.{name}", device, offset, width, order)


def table(
    stratum: str, entries: Sequence[int], base: int, width: int, order: str = "big", device: int = 0
) -> Iterator[Field]:
    """The first used entries of a table, its first unused one and its last."""
    used = [index for index, entry in enumerate(entries) if entry][:SHOWN]
    free = [index for index, entry in enumerate(entries) if not entry][:1]
    for index in sorted({*used, *free, len(entries) - 1} - {-1}):
        yield Field(stratum, device, base + index * width, width, order)


def integers(medium: Medium, offset: int, count: int, width: int, order: str = "big") -> list[int]:
    """A table; zeros past the end of the file."""
    data = medium.pread(width * count, offset).ljust(width * count, b"\0")
    return [int.from_bytes(data[at : at + width], order) for at in range(0, len(data), width)]  # type: ignore[arg-type]


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


def qcow2_fields(medium: Medium) -> Iterator[Field]:
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


HOSTED = list(vmdk.HostedHeader._fields)
COWD = list(vmdk.CowdHeader._fields)
SESPARSE = list(vmdk.SeSparseHeader._fields)
VOLATILE = ["magic", "free_gt_number", "next_txn_seq_number", "replay_journal", "padding"]


def vmdk_fields(media: Sequence[Medium]) -> Iterator[Field]:
    """The fields of every file of a sound vmdk image."""
    for device, medium in enumerate(media):
        magic = medium.pread(8, 0)
        if magic[:4] == vmdk.HOSTED_MAGIC:
            yield from _hosted(medium, device)
        elif magic[:4] == vmdk.COWD_MAGIC:
            yield from record("cowd", vmdk.COWD, 0, COWD, device)
            _, _, _, _, _, directory, count, _ = vmdk.COWD.unpack(medium.pread(32, 0))
            yield from _grains(medium, device, directory * vmdk.SECTOR, count, vmdk.COWD_TABLE, "cowd ")
        elif int.from_bytes(magic, "little") == vmdk.SESPARSE_MAGIC:
            yield from _sesparse(medium, device)
        elif magic.startswith(b"# Disk"):
            yield from _text(medium.pread(medium.size, 0), 0, device)


def _hosted(medium: Medium, device: int) -> Iterator[Field]:
    yield from record("header", vmdk.HOSTED, 0, HOSTED, device)
    header = vmdk.HostedHeader._make(vmdk.HOSTED.unpack(medium.pread(512, 0)))
    if header.descriptor_offset:
        start = header.descriptor_offset * vmdk.SECTOR
        text = medium.pread(header.descriptor_size * vmdk.SECTOR, start).rstrip(b"\0")
        yield from _text(text, start, device)
    stream = header.gd_offset == vmdk.GD_AT_END
    if stream:
        footer = medium.size - 3 * vmdk.SECTOR
        names = ["sectors", "size", "type"]
        for place in (footer, footer + 2 * vmdk.SECTOR):
            yield from record("metadata marker", vmdk.METADATA_MARKER, place, names, device)
        yield from record("footer", vmdk.HOSTED, footer + vmdk.SECTOR, HOSTED, device)
        header = vmdk.HostedHeader._make(vmdk.HOSTED.unpack(medium.pread(512, footer + vmdk.SECTOR)))
    grains = -(-header.capacity // header.grain_size)
    count = -(-grains // header.num_gtes)
    kinds = [("", header.gd_offset)]
    if header.flags & vmdk.HeaderFlag.REDUNDANT and not stream:
        kinds.append(("redundant ", header.rgd_offset))
    for kind, offset in kinds:
        marked = header.flags & vmdk.HeaderFlag.MARKERS and not kind
        yield from _grains(medium, device, offset * vmdk.SECTOR, count, header.num_gtes, kind, marked=bool(marked))


def _grains(
    medium: Medium, device: int, place: int, count: int, entries: int, kind: str, *, marked: bool = False
) -> Iterator[Field]:
    directory = integers(medium, place, count, 4, "little")
    yield from table(f"{kind}grain directory entry", directory, place, 4, "little", device)
    for sector in [sector for sector in directory if sector][:3]:
        grains = integers(medium, sector * vmdk.SECTOR, entries, 4, "little")
        yield from table(f"{kind}grain table entry", grains, sector * vmdk.SECTOR, 4, "little", device)
        for grain in [grain for grain in grains if grain > 1][: SHOWN if marked else 0]:
            yield from record("grain marker", vmdk.MARKER, grain * vmdk.SECTOR, ["sector", "size"], device)


def _sesparse(medium: Medium, device: int) -> Iterator[Field]:
    yield from record("sesparse", vmdk.SESPARSE, 0, SESPARSE, device)
    header = vmdk.SeSparseHeader._make(vmdk.SESPARSE.unpack(medium.pread(512, 0)))
    volatile = header.volatile_header_offset * vmdk.SECTOR
    yield from record("sesparse volatile", vmdk.VOLATILE, volatile, VOLATILE, device)
    for name, at, sectors in (
        ("grain directory entry", header.grain_dir_offset, header.grain_dir_size),
        ("grain table entry", header.grain_tables_offset, header.grain_tables_size),
    ):
        entries = integers(medium, at * vmdk.SECTOR, sectors * 64, 8, "little")
        yield from table(f"sesparse {name}", entries, at * vmdk.SECTOR, 8, "little", device)


def _text(text: bytes, base: int, device: int) -> Iterator[Field]:
    """The parts of a descriptor: keys, values, and every word of an extent's line."""
    for line in re.finditer(rb"[^\n]+", text):
        words = line.group()
        name = words.partition(b"=")[0].strip().decode("latin-1")
        stratum = "descriptor extent" if words[:2] in (b"RW", b"RD", b"NO") else f"descriptor {name[:24]}"
        for word in re.finditer(rb'[^\s="]+', words):
            yield Field(stratum, device, base + line.start() + word.start(), min(8, len(word.group())))


def strata(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """The fields by stratum."""
    made: dict[str, list[Field]] = {}
    for field in fields:
        if field.width:
            made.setdefault(field.stratum, []).append(field)
    return made


DIGITS = (
    b"0",
    b"-1",
    b"4294967295",
    b"9223372036854775807",
    b"18446744073709551616",
    b"%s%n",
    b"..",
    b"/",
    b'"',
    b"\xff",
)


def mutations(media: Sequence[Medium], fields: Sequence[Field], random: Random, count: int) -> Iterator[Mutation]:
    """So many changes, each of one field and the strata in turn; a few also cut the file there."""
    groups = list(strata(fields).items())
    random.shuffle(groups)
    for number in range(count):
        stratum, group = groups[number % len(groups)]
        field = random.choice(group)
        made = _change(media, field, random, fields)
        if random.random() < 0.15:  # two at once: many checks look at a pair
            other = _change(media, random.choice(random.choice(groups)[1]), random, fields)
            if other.device == made.device and other.size is None and made.size is None:
                made = made._replace(title=f"{made.title}; {other.title}", patches=made.patches + other.patches)
        yield made._replace(title=f"{stratum} at {field.device}:{field.offset}: {made.title}")


def _change(media: Sequence[Medium], field: Field, random: Random, fields: Sequence[Field]) -> Mutation:
    medium = media[field.device]
    old = medium.pread(field.width, field.offset).ljust(field.width, b"\0")
    kind = random.choices(("extreme", "flip", "splice", "cut", "text"), (60, 20, 10, 7, 3))[0]
    if field.stratum.startswith("descriptor") and random.random() < 0.5:
        kind = "text"
    if kind == "cut":
        size = max(0, field.offset + random.choice((0, 1, field.width - 1, field.width, 511, 512)))
        return Mutation(f"cut to {size} bytes", field.device, (), size)
    if kind == "text":
        new = random.choice(DIGITS)
    elif kind == "flip":
        value = int.from_bytes(old, "big")
        for _ in range(random.choice((1, 1, 2, 8))):
            value ^= 1 << random.randrange(8 * field.width)
        new = value.to_bytes(field.width, "big")
    elif kind == "splice":
        other = random.choice([one for one in fields if one.width == field.width])
        new = media[other.device].pread(field.width, other.offset).ljust(field.width, b"\0")
    else:
        new = _extreme(medium.size, field, int.from_bytes(old, field.order), random)  # type: ignore[arg-type]
    return Mutation(f"{kind} {old.hex()} to {new.hex()}", field.device, ((field.offset, new),))


def _extreme(size: int, field: Field, old: int, random: Random) -> bytes:
    value = random.choice(
        (
            *EDGES,
            *(edge for edge in EDGES if edge >> 8 * field.width == 0),
            (1 << 8 * field.width) - 1,
            (1 << 8 * field.width - 1) - 1,
            1 << 8 * field.width - 1,
            size,
            size - 1,
            size // 512,
            -(-size // 65536) * 65536,
            old + 1,
            old - 1,
            old * 2,
            old // 2,
            old + 512,
            old + 65536,
            field.offset,
            random.getrandbits(8 * field.width),
            random.getrandbits(random.randrange(1, 8 * field.width + 1)),
        )
    )
    return (value % (1 << 8 * field.width)).to_bytes(field.width, field.order)  # type: ignore[arg-type]
