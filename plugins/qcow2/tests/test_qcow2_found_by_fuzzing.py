"""What mutated images have found: each a case of its own."""

from __future__ import annotations

import struct

import pytest
from instar_qcow2 import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Finding, Kind, Layer, Severity, Span

CLUSTER = 1 << 16
COPIED = 1 << 63


def image(l1_entry):
    """An image of one L2 table, in cluster 4, whose first entry is data in cluster 5."""
    fields = (3, 0, 0, 16, 1 << 20, 0, 1, 3 * CLUSTER, CLUSTER, 1, 0, 0)
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", *fields) + struct.pack(">QQQII", 0, 0, 0, 4, 104) + bytes(8)
    clusters = (
        head,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">6H", *[1] * 6),
        struct.pack(">Q", l1_entry),
        struct.pack(">Q", COPIED | 5 * CLUSTER),
        b"x" * CLUSTER,
    )
    return Image([bytes_source(b"".join(cluster.ljust(CLUSTER, b"\0") for cluster in clusters))])


def kinds(l1_entry):
    found = hooks.instar_map(image=image(l1_entry), layer=Layer(), span=Span(0, 1 << 20))
    return [(extent.start, extent.length, extent.kind) for extent in found]


@pytest.mark.parametrize("bits", [0, COPIED])
def test_the_copied_bit_of_an_l1_entry_says_nothing_about_its_table(bits):
    data = [(0, CLUSTER, Kind.DATA), (CLUSTER, 15 * CLUSTER, Kind.ABSENT)]
    assert kinds(4 * CLUSTER | bits) == data
    assert kinds(bits) == [(0, 1 << 20, Kind.ABSENT)]


@pytest.mark.parametrize("bits", [0x100, 1 << 56, COPIED | 1 << 62 | 1])
@pytest.mark.parametrize("offset", [0, 4 * CLUSTER])
def test_reserved_bits_of_an_l1_entry_stop_reading_as_those_of_an_l2_entry_do(offset, bits):
    with pytest.raises(FormatError, match="has reserved bits set"):
        kinds(offset | bits)


def test_reserved_bits_of_an_l1_entry_are_a_finding_of_check():
    found = [one for one in hooks.instar_check(image=image(COPIED | 4 * CLUSTER | 0x100)) if isinstance(one, Finding)]
    assert [one.severity for one in found if "reserved bits" in one.text] == [Severity.CORRUPTION]
    sound = [one for one in hooks.instar_check(image=image(COPIED | 4 * CLUSTER)) if isinstance(one, Finding)]
    assert sound == []


def test_an_l2_table_that_is_not_aligned_is_refused():
    with pytest.raises(FormatError, match="unaligned"):
        kinds(4 * CLUSTER + 512)
