"""What check finds; qemu-img has no check for this format."""

from __future__ import annotations

import pytest

from instar_core.source import Image, bytes_source
from instar_core.types import Severity, Tally

MIB = 1 << 20
SECTORS = [0, 1, 9, 300]


def findings(subject, data):
    found = list(subject.check(Image([bytes_source(data)])))
    assert isinstance(found[-1], Tally)
    return [(one.severity, one.text, one.count) for one in found[:-1]], found[-1]


@pytest.mark.parametrize("order", ([0, 1, 37], [37, 1, 0]))
def test_a_sound_image_has_no_findings(order, builder, subject):
    found, tally = findings(subject, builder.build(MIB, SECTORS, order=order))
    assert not found
    assert (tally.total, tally.allocated, tally.fragmented) == (256, 3, 0 if order[0] == 0 else 2)


CORRUPT, LEAK, NOTE = Severity.CORRUPTION, Severity.LEAK, Severity.NOTE
CASES = {
    "past the end": ({"catalog": {7: 3}}, [(CORRUPT, "ERROR extent 3 is not inside the file", 1)]),
    "some past the end": (
        {"catalog": {7: 2, 8: 3, 9: 4}},
        [
            (CORRUPT, "ERROR extent 3 is not inside the file", 2),
            (CORRUPT, "ERROR extent 2 is referenced more than once", 1),
        ],
    ),
    "far past the end": (
        {"catalog": dict.fromkeys(range(40, 50), 1 << 30)},
        [(CORRUPT, "ERROR extent 1073741824 is not inside the file", 10)],
    ),
    "shared": ({"catalog": {7: 0}}, [(CORRUPT, "ERROR extent 0 is referenced more than once", 1)]),
    "shared by many": (
        {"catalog": dict.fromkeys(range(5, 15), 1)},
        [(CORRUPT, "ERROR extent 1 is referenced more than once", 10)],
    ),
    "leaked": ({"catalog": {1: 0xFFFFFFFF}}, [(LEAK, "Leaked extent 1", 1)]),
    "leaked, all": (
        {"catalog": dict.fromkeys((0, 1, 37), 0xFFFFFFFF)},
        [(LEAK, "Leaked extents 0 to 2", 3)],
    ),
    "a tail": ({"body": bytes(100)}, [(NOTE, "100 bytes after the last extent belong to nothing", 1)]),
    "a longer header": ({"size": 1024}, [(NOTE, "The header says that it has 1024 bytes", 1)]),
    "past the disk": (
        {"catalog": {37: 0xFFFFFFFF, 257: 2}, "spare": 3},
        [
            (NOTE, "Catalog entries 257 to 257 are past the end of the disk", 1),
            (NOTE, "The bitmap of extent 2 has bits for sectors that are not", 1),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_and_counted(case, builder, subject):
    options, wanted = CASES[case]
    found, _ = findings(subject, builder.build(MIB, SECTORS, **options))
    for one in wanted:
        assert one in found
    assert {one[1] for one in found} == {one[1] for one in wanted}


def test_a_bit_past_the_extent_is_a_note(builder, subject):
    data = builder.build(MIB, SECTORS)
    at = 512 + 256 * 4 + 1
    found, _ = findings(subject, data[:at] + b"\x10" + data[at + 1 :])
    assert found == [(NOTE, "The bitmap of extent 0 has bits for sectors that are not", 1)]


def test_a_file_that_was_cut_has_corruptions(builder, subject):
    data = builder.build(MIB, SECTORS)
    found, _ = findings(subject, data[:-1])
    assert found[-1] == (CORRUPT, "ERROR extent 2 is not inside the file", 1)


def test_places_of_findings_are_those_of_catalog_entries(builder, subject):
    found = list(subject.check(Image([bytes_source(builder.build(MIB, SECTORS, catalog={7: 3}))])))
    assert found[0].offset == 512 + 4 * 7
