"""Checking the structure of an ISO 9660 volume: descriptors, sizes, path tables, root directory, boot catalogue.

What is wrong there is a corruption; none can be mended, for content would have to be made up. ECMA-119, sections 8
and 9.
"""

from __future__ import annotations

from instar_core.types import Finding, Severity, Tally
from instar_iso import limits
from instar_iso.descriptors import read_set
from instar_iso.layout import (
    DIRECTORY,
    EL_TORITO,
    FIRST,
    LOGICAL_SECTOR,
    SECTOR,
    DescriptorType,
    record,
    volume,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_iso.descriptors import Descriptor
    from instar_iso.layout import Volume

BLOCKS = (512, 1024, 2048)
PATH_RECORD = 8
CATALOGUE = 71
"""Where a boot record has the logical sector of the boot catalogue."""


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally whose end is that of the volume."""
    source = image.main
    found = read_set(source)
    last = found.descriptors[-1].offset + LOGICAL_SECTOR if found.descriptors else FIRST
    if not found.terminated:
        yield _bad("The volume descriptor set has no terminator", last)
    if found.primary is None:
        yield _bad("There is no primary volume descriptor", FIRST)
    end = 0
    for one in found.descriptors:
        if one.type in (DescriptorType.PRIMARY, DescriptorType.SUPPLEMENTARY):
            name = "primary" if one.type == DescriptorType.PRIMARY else "supplementary"
            said = volume(one.data)
            end = max(end, said.volume_space_size.little * said.logical_block_size.little)
            yield from _volume(source, one, said, name)
        elif one.type == DescriptorType.BOOT and one.data[7:].startswith(EL_TORITO):
            yield from _boot(source, one)
    if source.size > end > 0:
        yield Finding(Severity.NOTE, f"The file goes on for {source.size - end} bytes after the volume", end)
    yield Tally(end=-(-end // SECTOR) * SECTOR)


def _volume(source: Source, one: Descriptor, said: Volume, name: str) -> Iterator[Finding]:
    numbers = (
        ("volume space size", said.volume_space_size, 80),
        ("volume set size", said.volume_set_size, 120),
        ("volume sequence number", said.volume_sequence_number, 124),
        ("logical block size", said.logical_block_size, 128),
        ("path table size", said.path_table_size, 132),
    )
    for what, number, at in numbers:
        if number.little != number.big:
            yield _bad(
                f"The {what} of the {name} volume is {number.little} in one byte order and {number.big} in the other",
                one.offset + at,
            )
    if one.data[6] not in (1, 2):
        yield _bad(f"The {name} volume descriptor has the version {one.data[6]}", one.offset + 6)
    block = said.logical_block_size.little
    if block not in BLOCKS:
        yield _bad(f"A logical block of {block} bytes is not possible", one.offset + 128)
        return
    end = said.volume_space_size.little * block
    if end > source.size:
        yield _bad(f"The {name} volume has {end} bytes, but the file has {source.size}", one.offset + 80)
    yield from _path_tables(source, one, said, name, min(end, source.size))
    root = record(said.root)
    start = (root.location.little + root.extended) * block
    if root.location.little != root.location.big or root.data_length.little != root.data_length.big:
        yield _bad(f"The root directory of the {name} volume has two places", one.offset + 156)
    elif root.length < 34 or not root.flags & DIRECTORY:
        yield _bad(f"The root directory of the {name} volume is no directory", one.offset + 156)
    elif start + root.data_length.little > min(end, source.size):
        yield _bad(f"The root directory of the {name} volume lies outside it", one.offset + 156)
    else:
        own = record(source.read(start, 34, pad=True))
        if own.location.little != root.location.little or not own.flags & DIRECTORY:
            yield _bad(f"The root directory of the {name} volume is not where it should be", start)


def _path_tables(source: Source, one: Descriptor, said: Volume, name: str, end: int) -> Iterator[Finding]:
    block, size = said.logical_block_size.little, said.path_table_size.little
    places = (("L", said.type_l_path_table, 140), ("M", said.type_m_path_table, 148))
    for kind, location, at in places:
        if not location or location * block + size > end or not size:
            yield _bad(f"The type {kind} path table of the {name} volume lies outside it", one.offset + at)
            return
    if size > limits.PATH_TABLE:
        yield Finding(Severity.NOTE, f"The path table of the {name} volume is too long to look at", one.offset + 132)
        return
    little = source.read(said.type_l_path_table * block, size)
    big = source.read(said.type_m_path_table * block, size)
    at = number = 0
    while at + PATH_RECORD <= size:
        length = PATH_RECORD + little[at] + (little[at] & 1)
        place = int.from_bytes(little[at + 2 : at + 6], "little")
        number += 1
        if not little[at] or at + length > size or place * block >= end:
            yield _bad(f"Directory {number} of the path table of the {name} volume makes no sense", one.offset + 132)
            return
        if (
            place != int.from_bytes(big[at + 2 : at + 6], "big")
            or little[at + 8 : at + length] != big[at + 8 : at + length]
        ):
            yield _bad(f"The two path tables of the {name} volume differ at directory {number}", one.offset + 132)
            return
        at += length


def _boot(source: Source, one: Descriptor) -> Iterator[Finding]:
    """The boot catalogue begins with a validation entry, whose sixteen-bit words sum up to 0."""
    place = int.from_bytes(one.data[CATALOGUE : CATALOGUE + 4], "little") * LOGICAL_SECTOR
    if place + 64 > source.size:
        yield _bad("The boot catalogue lies outside the file", one.offset + CATALOGUE)
        return
    entry = source.read(place, 32)
    words = sum(int.from_bytes(entry[at : at + 2], "little") for at in range(0, 32, 2))
    if entry[0] != 1 or entry[30:32] != b"\x55\xaa" or words & 0xFFFF:
        yield _bad("The boot catalogue is damaged", place)


def _bad(text: str, offset: int) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset)
