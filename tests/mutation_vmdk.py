"""Every field of the headers, tables and descriptors of vmdk images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from instar_vmdk import layout as vmdk
from mutation import SHOWN, Field, integers, record, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.testing.medium import Medium

HOSTED = list(vmdk.HostedHeader._fields)
COWD = list(vmdk.CowdHeader._fields)
SESPARSE = list(vmdk.SeSparseHeader._fields)
VOLATILE = ["magic", "free_gt_number", "next_txn_seq_number", "replay_journal", "padding"]


def fields(media: Sequence[Medium]) -> Iterator[Field]:
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
