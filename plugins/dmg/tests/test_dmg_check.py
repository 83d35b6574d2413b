"""What check finds. qemu-img has no check for this format."""

from __future__ import annotations

import struct

import pytest
from instar_dmg import limits

from instar_core.types import Severity

ZLIB, RAW, ZERO = 0x80000005, 1, 0
CORRUPTION, NOTE = Severity.CORRUPTION, Severity.NOTE


@pytest.fixture
def made(builder, filling):
    return builder.Image().partition("a", ("raw", filling(1, 8)), ("zlib", filling(2, 8)), ("zero", bytes(4096)))


def test_a_sound_image_has_only_counts(made, opened):
    data = made.build()
    findings, tally = opened(data).check()
    assert findings == []
    assert (tally.total, tally.allocated, tally.compressed, tally.end) == (3, 2, 1, len(data))


def test_a_changed_byte_of_the_data_fork_is_found(made, opened):
    data = bytearray(made.build())
    data[5000] ^= 1
    ((severity, text),), _ = opened(data).check()
    assert severity == CORRUPTION
    assert text.startswith("ERROR the data fork has the checksum ")


def test_a_checksum_of_the_tables_that_is_wrong_is_found(made, opened, builder):
    ((severity, text),), _ = opened(made.build(master_checksum=builder.checksum(b"x"))).check()
    assert severity == CORRUPTION
    assert text.startswith("ERROR the block tables have the checksum ")


def test_an_image_without_checksums_is_sound(made, opened, builder):
    data = made.build(master_checksum=builder.checksum(), data_checksum=builder.checksum())
    assert opened(data).check()[0] == []


def test_a_checksum_of_another_type_is_a_note(made, opened):
    data = made.build(data_checksum=struct.pack(">II128x", 4, 128))
    assert opened(data).check()[0] == [
        (NOTE, "The data fork's checksum is of the type 4, which is not checked"),
    ]


def test_a_data_fork_past_the_trailer_is_a_corruption(made, opened):
    assert (CORRUPTION, "ERROR the data fork does not lie before the trailer") in opened(
        made.build(data_length=1 << 40)
    ).check()[0]


def test_an_odd_version_is_a_note(made, opened):
    assert opened(made.build(version=5)).check()[0] == [
        (NOTE, "The trailer has version 5 and says that it has 512 bytes")
    ]


@pytest.mark.parametrize(
    "chunks, text",
    [
        ([(ZERO, 0, 4, 0, 0)], "ERROR no chunk holds the sectors 4 to 7"),
        ([(ZERO, 0, 2, 0, 0), (ZERO, 4, 4, 0, 0)], "ERROR no chunk holds the sectors 2 to 3"),
        ([(ZERO, 0, 6, 0, 0), (ZERO, 4, 4, 0, 0)], "ERROR two chunks hold the sectors 4 to 5"),
        ([(RAW, 0, 8, 1 << 40, 4096)], "ERROR the chunk at sector 0 does not lie before the trailer"),
        ([(RAW, 0, 8, 0, 4000)], "ERROR the chunk at sector 0 is only 4000 bytes long"),
        ([(ZLIB, 0, 8, 0, 0)], "ERROR the chunk at sector 0 is only 0 bytes long"),
        ([(7, 0, 8, 0, 1)], "ERROR the chunk at sector 0 has the unknown type 0x00000007"),
    ],
)
def test_wrong_chunks_are_corruptions(chunks, text, builder, opened):
    image = builder.Image()
    image.fork = bytearray(8192)
    image.tables.append(("a", builder.table(0, chunks, b"", sectors=8)))
    findings, _ = opened(image.build(sectors=8)).check()
    assert (CORRUPTION, text) in findings


def test_chunks_past_the_disk_are_a_note(made, opened):
    assert opened(made.build(sectors=20)).check()[0] == [(NOTE, "Chunks reach the sector 23, but the disk ends at 20")]


def test_a_table_that_counts_other_sectors_is_a_note(builder, opened):
    image = builder.Image()
    image.tables.append(("a", builder.table(0, [(ZERO, 0, 8, 0, 0)], b"", sectors=9)))
    assert opened(image.build(sectors=8)).check()[0] == [
        (NOTE, "The table 'a' says that it has 9 sectors, its chunks reach 8")
    ]


def test_many_findings_are_told_as_one(builder, opened, monkeypatch):
    monkeypatch.setattr(limits, "FINDINGS", 2)
    image = builder.Image()
    image.tables.append(("a", builder.table(0, [(ZERO, 2 * at, 1, 0, 0) for at in range(10)], b"", sectors=19)))
    findings, _ = opened(image.build(sectors=19)).check()
    assert [text for _, text in findings] == [
        "ERROR no chunk holds the sectors 1 to 1",
        "ERROR no chunk holds the sectors 3 to 3",
        "ERROR 7 more chunks are wrong in the same way",
    ]
