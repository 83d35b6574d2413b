"""Structures that lie, with right checksums: a plain error in bounded time, in qemu's words where it has some."""

from __future__ import annotations

import random
import struct
import time
import uuid

import pytest
from instar_vhdx import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, Source, bytes_source
from instar_core.testing import fuzz
from instar_core.testing.medium import Disk, source
from instar_core.testing.specimen import Specimen, places
from instar_core.testing.subject import Subject, load_spec
from instar_core.types import Barrier, Layer, ProbeView, Punch, Put, Repair, Span, Truncate

MIB = 1 << 20
ITEMS = 2 * MIB + 65536
TABLE = 3 * MIB
CASES = 200
LOGICAL, DISK_ID, PARAMETERS, PHYSICAL, SIZE = ITEMS, ITEMS + 4, ITEMS + 20, ITEMS + 28, ITEMS + 32
"""Where the builder puts the items."""


def opened(data):
    return Image([bytes_source(bytes(data))])


def info(data):
    return hooks.instar_info(opened(data))


def mapped(data):
    image = opened(data)
    return list(hooks.instar_map(image, Layer(), Span(0, hooks.instar_info(image).virtual_size)))


def changed(data, offset, value, layout="<Q"):
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]


def with_headers(builder, data, **fields):
    made = bytearray(data)
    fields.setdefault("data_write", uuid.UUID(int=1))
    for place, sequence in ((65536, 2), (131072, 1)):
        made[place : place + 4096] = builder.header(sequence, **fields)
    return bytes(made)


def with_regions(builder, data, entries, count=None):
    made = bytearray(data)
    table = builder.region_table(entries)
    if count is not None:
        table = builder.summed(table[:8] + struct.pack("<I", count) + table[12:])
    for place in (196608, 262144):
        made[place : place + 65536] = table
    return bytes(made)


@pytest.fixture(scope="module")
def good(builder):
    image = builder.Image(4 * MIB)
    image.put(0, builder.FULL, b"content")
    return image.build()


@pytest.mark.parametrize(
    "offset, value, layout, message",
    [
        (0, 0, "<Q", "Image not in VHDX format"),
        (PARAMETERS, 0, "<I", "blocks of 0 bytes"),
        (PARAMETERS, 3 * MIB, "<I", "blocks of 3145728 bytes"),
        (PARAMETERS, MIB // 2, "<I", "blocks of 524288 bytes"),
        (PARAMETERS, 512 * MIB, "<I", "blocks of 536870912 bytes"),
        (PARAMETERS + 4, 2, "<I", "has a parent, but does not name it"),
        (LOGICAL, 0, "<I", "logical sectors of 0 bytes"),
        (LOGICAL, 1024, "<I", "logical sectors of 1024 bytes"),
        (SIZE, (64 << 40) + 512, "<Q", "larger than 64 TiB"),
        (SIZE, (1 << 64) - 512, "<Q", "larger than 64 TiB"),
        (SIZE, 1000, "<Q", "not made of sectors"),
        (SIZE, 1 << 40, "<Q", "is too short for a disk"),
        (2 * MIB, 0, "<Q", "no metadata table"),
        (2 * MIB + 10, 2048, "<H", "2048 entries is too long"),
        (2 * MIB + 10, 0, "<H", "is missing"),
        (2 * MIB + 10, 1, "<H", "is missing"),
        (2 * MIB + 48, 100, "<I", "is not inside its region"),
        (2 * MIB + 48, MIB - 2, "<I", "is not inside its region"),
        (2 * MIB + 52, 2 * MIB, "<I", "is not inside its region"),
        (2 * MIB + 52, 3, "<I", "has 3 bytes"),
    ],
)
def test_metadata_out_of_bounds_is_refused(good, offset, value, layout, message):
    """Block and sector sizes of 0 are CVE-2014-0148."""
    with pytest.raises(FormatError, match=message):
        info(changed(good, offset, value, layout))


def test_items_that_are_required_must_be_known_and_be_there_once(builder):
    image = builder.Image(MIB)
    image.extra_items = [(uuid.UUID(int=8), b"x", 4)]
    with pytest.raises(FormatError, match="00000000-0000-0000-0000-000000000008 is not known"):
        info(image.build())
    image.extra_items = [(builder.DISK_SIZE, bytes(8), 6)]
    with pytest.raises(FormatError, match="is there twice"):
        info(image.build())


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"version": 2}, "No valid VHDX header found"),
        ({"log_version": 1}, "a log of version 1 is not known"),
        ({"log": uuid.UUID(int=1), "log_offset": 0}, "has no possible place"),
        ({"log": uuid.UUID(int=1), "log_length": 0}, "has no possible place"),
        ({"log": uuid.UUID(int=1), "log_length": MIB + 4096}, "has no possible place"),
        ({"log": uuid.UUID(int=1), "log_length": 65 * MIB}, "too long to be replayed"),
        ({"log": uuid.UUID(int=1), "log_offset": 1 << 40}, "but the file ends at"),
        ({"log_length": 2 * MIB}, "VHDX region 2097152-3145728 overlaps with region 1048576-3145728"),
    ],
)
def test_a_header_that_lies_is_refused(fields, message, good, builder):
    with pytest.raises(FormatError, match=message):
        info(with_headers(builder, good, **fields))


def test_two_headers_of_one_sequence_number_must_say_the_same(good, builder):
    made = bytearray(good)
    for place, number in ((65536, 1), (131072, 2)):
        made[place : place + 4096] = builder.header(5, data_write=uuid.UUID(int=number))
    with pytest.raises(FormatError, match="No valid VHDX header found"):
        info(made)
    made[131072 : 131072 + 4096] = made[65536 : 65536 + 4096]
    assert info(made).virtual_size == 4 * MIB


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda b, m, t: [m], "there is no block allocation table"),
        (lambda b, m, t: [t], "there is no metadata region"),
        (lambda b, m, t: [m, t, (uuid.UUID(int=9), 9 * MIB, MIB, 1)], "required region .*0009 is not known"),
        (lambda b, m, t: [m, t, (b.BAT, 9 * MIB, MIB, 1)], "is there twice"),
        (lambda b, m, t: [m, (b.BAT, 2 * MIB, MIB, 1)], "VHDX region 2097152-3145728 overlaps with"),
        (lambda b, m, t: [m, (b.BAT, 0, MIB, 1)], "has no possible place"),
        (lambda b, m, t: [m, (b.BAT, 3 * MIB + 4096, MIB, 1)], "has no possible place"),
        (lambda b, m, t: [m, (b.BAT, 3 * MIB, 0, 1)], "has no possible place"),
        (lambda b, m, t: [m, (b.BAT, 3 * MIB, 8, 1)], "is too short for a disk"),
        (lambda b, m, t: [t, (b.METADATA, 1 << 50, MIB, 1)], "but the file ends at"),
    ],
)
def test_a_region_table_that_lies_is_refused(change, message, good, builder):
    entries = change(builder, (builder.METADATA, 2 * MIB, MIB, 1), (builder.BAT, 3 * MIB, MIB, 1))
    with pytest.raises(FormatError, match=message):
        info(with_regions(builder, good, entries))


def test_a_region_table_is_of_bounded_length_and_one_must_be_whole(good, builder):
    with pytest.raises(FormatError, match="a region table of 2048 entries is too long"):
        info(with_regions(builder, good, [], 2048))
    made = changed(changed(good, 196608 + 100, 1), 262144 + 100, 1)
    with pytest.raises(FormatError, match="No valid VHDX region table found"):
        info(made)


@pytest.mark.parametrize(
    "entry, message",
    [
        (4, "VHDX BAT entry 0 has state 4"),
        (4 * MIB | 5, "VHDX BAT entry 0 has state 5"),
        (4 * MIB | 7, "VHDX BAT entry 0 has state 7"),
        (6, "VHDX BAT entry 0 lies in the headers"),
        (99 * MIB | 6, r"VHDX BAT entry 0 start offset 103809024 points after end of file \(5242880\)"),
        ((1 << 64) - MIB | 6, "VHDX BAT entry 0 start offset 18446744073708503040"),
    ],
)
def test_a_block_that_cannot_be_is_refused_when_it_is_mapped(entry, message, good):
    data = changed(good, TABLE, entry)
    assert info(data).virtual_size == 4 * MIB
    with pytest.raises(FormatError, match=message):
        mapped(data)


@pytest.mark.parametrize("start", [MIB, 2 * MIB, 3 * MIB], ids=["log", "metadata", "table"])
def test_a_block_that_lies_in_a_region_of_the_file_is_refused_when_it_is_mapped(start, good):
    data = changed(good, TABLE, start | 6)
    assert info(data).virtual_size == 4 * MIB
    with pytest.raises(FormatError, match=f"VHDX region {start}-{start + MIB} overlaps with region {start}-"):
        mapped(data)


def test_a_block_that_ends_past_the_file_is_refused_by_its_own_number(builder):
    image = builder.Image(4 * MIB)
    for number in range(1, 4):
        image.put(number, builder.FULL, b"x")
    data = image.build()
    with pytest.raises(FormatError, match="VHDX BAT entry 2 end offset 6291455 points after end of file"):
        mapped(data[: 5 * MIB + 4096])


@pytest.mark.parametrize(
    "pairs, message",
    [
        ([("relative_path", "a")], "does not identify the parent"),
        ([("parent_linkage", "{xyz}"), ("relative_path", "a")], "does not identify the parent"),
        ([("parent_linkage", "{" + "z" * 8 + "-bbbb-4ccc-8ddd-eeeeeeeeeeee}"), ("relative_path", "a")], "not identify"),
        ([("parent_linkage", "{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}")], "names no path"),
        ([("a", "b")] * 2, "has 'a' twice"),
        ([(str(number), "b") for number in range(65)], "65 entries is too long"),
    ],
)
def test_a_parent_locator_must_name_and_identify_the_parent(pairs, message, builder):
    image = builder.child(MIB)
    image.parent = pairs
    with pytest.raises(FormatError, match=message):
        info(image.build())


@pytest.mark.parametrize(
    "offset, value, layout, message",
    [
        (0, 5, "<Q", "a parent locator of type"),
        (18, 60, "<H", "is cut short"),
        (20, 0xFFFFFFFF, "<I", "is not inside it"),
        (24, 0xFFFF0000, "<I", "is not inside it"),
        (30, 0xFFFF, "<H", "is not inside it"),
        (30, 3, "<H", "is no UTF-16"),
    ],
)
def test_a_parent_locator_that_lies_is_refused(offset, value, layout, message, builder):
    data = builder.child(MIB).build()
    with pytest.raises(FormatError, match=message):
        info(changed(data, ITEMS + 40 + offset, value, layout))


def dirty(builder, entries, size=MIB, length=MIB):
    image = builder.Image(size)
    image.log_guid = builder.GUID
    image.log = entries
    return image.build()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e(flushed=1 << 40), "had 1099511627776 bytes when its log was written"),
        (lambda e: e(last=1 << 50), "the log wants a file of"),
        (lambda e: e([(1 << 60, bytes(4096))]), "the log changes the file at"),
        (lambda e: e([(TABLE, 1 << 40)]), "the log zeroes more than metadata can be long"),
        (lambda e: e([(TABLE, 1 << 29)] * 3), "the log zeroes more than metadata can be long"),
    ],
)
def test_a_log_that_asks_for_too_much_is_refused(change, message, builder):
    def entry(changes=((TABLE, bytes(4096)),), flushed=0, last=0):
        return builder.entry(1, 0, builder.GUID, changes, flushed=flushed, last=last)

    with pytest.raises(FormatError, match=message):
        info(dirty(builder, {0: change(entry)}))


@pytest.mark.parametrize(
    "place, value, layout",
    [
        (0, 0, "<I"),
        (8, 0, "<I"),
        (8, 4095, "<I"),
        (8, 1 << 31, "<I"),
        (12, 5, "<I"),
        (12, 1 << 30, "<I"),
        (16, 0, "<Q"),
        (24, 1 << 31, "<I"),
        (32, 0, "<Q"),
        (64, 0, "<I"),
        (64 + 16, 100, "<Q"),
        (64 + 24, 9, "<Q"),
        (4096, 0, "<I"),
        (4096 + 4, 1, "<I"),
        (8192 - 4, 9, "<I"),
    ],
)
def test_an_entry_that_is_not_sound_does_not_count(place, value, layout, builder):
    data = builder.entry(1, 0, builder.GUID, [(TABLE, b"\1" * 4096)], flushed=0, last=0)
    made = dirty(builder, {0: data})
    assert info(made).dirty is True
    broken = builder.summed(changed(data, place, value, layout))
    assert info(dirty(builder, {0: broken})).dirty is False


def test_a_log_made_to_be_slow_is_refused(builder):
    """Every sector begins an entry that claims to be the whole log."""
    head = struct.pack("<4sIIIQII", b"loge", 0, MIB, 0, 1, 0, 0) + builder.GUID.bytes_le
    start = time.process_time()
    with pytest.raises(FormatError, match="lie over one another"):
        info(dirty(builder, dict.fromkeys(range(0, MIB, 4096), head)))
    assert time.process_time() - start < 5


def test_a_table_of_any_size_costs_little_where_it_is_all_alike(builder):
    """A disk of 64 TiB with blocks of 1 MiB."""
    image = builder.Image(4 * MIB)
    made = bytearray(image.build())
    struct.pack_into("<Q", made, SIZE, 64 << 40)
    made = with_regions(
        builder, bytes(made), [(builder.METADATA, 2 * MIB, MIB, 1), (builder.BAT, 4 * MIB, 516 * MIB, 1)]
    )
    alike = struct.pack("<Q", 2) * 4096 + bytes(8)
    big = alike * (2 * MIB // len(alike) + 2)

    def pread(length, offset):
        if offset < 4 * MIB:
            return made[offset : offset + length].ljust(min(length, 4 * MIB - offset), b"\0")[:length]
        parts = []
        while length:
            at = (offset - 4 * MIB) % len(alike)
            parts.append(big[at : at + min(length, 2 * MIB)])
            length -= len(parts[-1])
            offset += len(parts[-1])
        return b"".join(parts)

    image = Image([Source(pread, 1 << 30, 1 << 30)])
    start = time.process_time()
    assert [(one.start, one.length) for one in hooks.instar_map(image, Layer(), Span(0, 64 << 40))] == [(0, 64 << 40)]
    assert time.process_time() - start < 10


def test_a_probe_takes_the_signature_only():
    assert hooks.instar_probe(ProbeView(b"vhdxfile" + bytes(600), b"", 700)).format == "vhdx"
    assert hooks.instar_probe(ProbeView(b"vhdxfil", b"", 7)) is None


def test_hostile_images_with_right_checksums_are_answered_or_refused(builder):
    """Fields of headers, region tables and log entries at their edges, where a checksum would else hide them."""
    choose = random.Random(11)
    samples = [builder.samples()[number] for number in (1, 3)]
    cases = []
    for number in range(CASES):
        name, data = choose.choice(samples)
        start, length, span = choose.choice(((65536, 80, 4096), (196608, 80, 65536), (MIB, 160, 0)))
        made = bytearray(data[start : start + (span or MIB)])
        value = choose.choice((0, 1, MIB, 4096, (1 << 32) - 1, (1 << 63), (1 << 64) - 1, choose.getrandbits(64)))
        at = 8 + choose.randrange((length - 8) // 4) * 4
        made[at : at + 4] = struct.pack("<I", value & 0xFFFFFFFF)
        if choose.random() < 0.5:
            made[at : at + 8] = struct.pack("<Q", value)
        span = span or min(65536, max(4096, struct.unpack_from("<I", made, 8)[0]))
        patch = start, builder.summed(made[:span])
        title = f"{value:#x} at {start + at}, case {number}"
        cases.append((Specimen(name, (Disk(data),)), fuzz.hostile.Mutation(title, 0, (patch,))))
    result = fuzz.show(iter(cases), Subject(load_spec("vhdx")), 11)
    assert not result.failures, str(result)
    assert result.runs == CASES
    assert result.refused["info"] > 20 and result.answered["map"] > 20


def test_a_repair_of_hostile_images_has_edits_or_is_refused(builder):
    choose = random.Random(12)
    subject = Subject(load_spec("vhdx"))
    made = refused = 0
    for _, data in builder.samples()[2:4]:
        media = (Disk(data),)
        for mutation in fuzz.hostile.mutations(media, places(subject, media), (), choose, 100):
            image = Image([source(one) for one in fuzz.hostile.apply(media, mutation)])
            try:
                for edit in subject.write(image, Repair("all", 0, bytes(64)), iter(())):
                    assert isinstance(edit, (Put, Punch, Truncate, Barrier)), mutation.title
                made += 1
            except FormatError:
                refused += 1
    assert made > 20 and refused > 20


def test_headers_that_have_run_out_of_sequence_numbers_are_not_mended(good, builder):
    made = bytearray(good)
    made[65536 : 65536 + 4096] = builder.header((1 << 64) - 1, data_write=uuid.UUID(int=1))
    made[131072] = 0
    with pytest.raises(FormatError, match="run out of sequence numbers"):
        list(hooks.instar_write(opened(made), Repair("all", 0, bytes(64)), iter(())))
