"""What the plugin says of itself and of a file, and what reading answers to the bounds of the format."""

from __future__ import annotations

import time

import pytest
from instar_vdi import SPEC, hooks
from instar_vdi.info import uuid_text

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.taken import Taken
from instar_core.testing.beside import beside
from instar_core.types import Amend, Extent, Flag, Kind, Layer, LayerKind, ProbeView, Span

MIB = 1 << 20


BUILDER = beside(__file__)("vdi_builder")


def image(data):
    return Image([bytes_source(data)])


def mapped(data, start=0, length=None):
    info = hooks.instar_info(image(data))
    return list(hooks.instar_map(image(data), Layer(), Span(start, info.virtual_size if length is None else length)))


def lines(data):
    return [found.text for found in hooks.instar_check(image(data)) if hasattr(found, "severity")]


def test_the_signature_is_claimed_and_nothing_else():
    good = BUILDER.build([0])
    assert hooks.instar_probe(ProbeView(good, b"", len(good)))
    assert not hooks.instar_probe(ProbeView(good[:0x42], b"", 0x42))
    assert not hooks.instar_probe(ProbeView(b"", b"", 0))
    assert SPEC.signatures[0].magic == good[0x40:0x44]


def test_facts_that_qemu_does_not_print_are_extra():
    info = hooks.instar_info(image(BUILDER.build([None, 0])))
    assert (info.virtual_size, info.cluster_size, info.dirty, info.details) == (2 * MIB, MIB, False, {})
    assert info.extra["image-type"] == "dynamic"
    assert info.extra["blocks"] == 2 and info.extra["blocks-allocated"] == 1
    assert info.extra["uuid"] == "33323130-3534-3736-3839-616263646566"


def test_a_uuid_is_shown_as_virtualbox_shows_it():
    assert uuid_text(bytes(range(16))) == "03020100-0504-0706-0809-0a0b0c0d0e0f"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("size", 1 << 63, "Unsupported VDI image size (size is 0x8000000000000000, max supported is 0x1fffff8000000)"),
        (
            "size",
            0x1FFFFF8000001,
            "Unsupported VDI image size (size is 0x1fffff8000001, max supported is 0x1fffff80000",
        ),
        ("size", 5 * MIB, "unsupported VDI image (disk size 5242880, image bitmap has room for 4194304)"),
        ("size", 4 * MIB + 1, "unsupported VDI image (disk size 4194816, image bitmap has room for 4194304)"),
        ("signature", 1, "Image not in VDI format (bad signature 00000001)"),
        ("version", 0x10002, "unsupported VDI image (version 1.2)"),
        ("version", 0x10000, "unsupported VDI image (version 1.0)"),
        ("version", 1, "unsupported VDI image (version 0.1)"),
        ("bmap", 0x201, "unsupported VDI image (unaligned block map offset 0x201)"),
        ("data", 0x201, "unsupported VDI image (unaligned data offset 0x201)"),
        ("sector", 1024, "unsupported VDI image (sector size 1024 is not 512)"),
        ("block", 512, "unsupported VDI image (block size 512 is not 1048576)"),
        ("block", 0, "unsupported VDI image (block size 0 is not 1048576)"),
        ("block", 3 * MIB, "unsupported VDI image (block size 3145728 is not 1048576)"),
        ("block", 128 * MIB, "unsupported VDI image (block size 134217728 is not 1048576)"),
        ("extra", 7, "unsupported VDI image (7 bytes of extra data in front of each block)"),
        ("extra", 0xFFFFFE00, "unsupported VDI image (4294966784 bytes of extra data in front of each block)"),
        ("blocks", 0, "unsupported VDI image (disk size 4194304, image bitmap has room for 0)"),
        ("blocks", 0xFFFFFFFF, "unsupported VDI image (too many blocks 4294967295, max is 536870784)"),
        ("link", b"x" * 16, "unsupported VDI image (non-NULL link UUID)"),
        ("parent", b"x" * 16, "unsupported VDI image (non-NULL parent UUID)"),
    ],
)
def test_a_header_out_of_bounds_is_refused_in_qemus_words(field, value, message):
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(image(BUILDER.changed(BUILDER.build([0, None, None, None]), field, value)))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("kind, word", [(3, "undo"), (4, "diff")])
def test_an_image_that_needs_a_parent_is_refused_also_where_it_names_none(kind, word):
    """quirk("vdi-difference")"""
    with pytest.raises(FormatError, match=f"a {word} image"):
        hooks.instar_info(image(BUILDER.build([None, 0], type=kind)))


@pytest.mark.parametrize("field, value", [("type", 77), ("flags", 0xFFFFFFFF), ("header_size", 0), ("uuid", bytes(16))])
def test_what_qemu_overlooks_is_overlooked(field, value):
    data = BUILDER.changed(BUILDER.build([None, 0]), field, value)
    assert hooks.instar_info(image(data)).virtual_size == 2 * MIB


def test_free_and_discarded_blocks_are_zeros_and_join():
    data = BUILDER.build([1, 2, None, BUILDER.DISCARDED, None, 0])
    assert mapped(data) == [
        Extent(0, 2 * MIB, Kind.DATA, 0, 1024 + MIB),
        Extent(2 * MIB, 3 * MIB, Kind.ZERO),
        Extent(5 * MIB, MIB, Kind.DATA, 0, 1024),
    ]


def test_numbers_that_climb_into_those_for_no_block_are_no_data():
    top = BUILDER.DISCARDED
    data = BUILDER.build([top - 2, top - 1, top, top + 1], stored=0, allocated=2)
    place = 1024 + (top - 2) * MIB
    assert mapped(data) == [Extent(0, 2 * MIB, Kind.DATA, 0, place), Extent(2 * MIB, 2 * MIB, Kind.ZERO)]


def test_a_window_is_mapped_to_the_byte():
    data = BUILDER.build([1, 0, None])
    assert mapped(data, 1000, MIB) == [
        Extent(1000, MIB - 1000, Kind.DATA, 0, 1024 + MIB + 1000),
        Extent(MIB, 1000, Kind.DATA, 0, 1024),
    ]
    assert mapped(data, MIB + 7, 0) == []


def test_only_static_images_show_the_holes_of_the_file():
    assert mapped(BUILDER.build([0, 1], type=2))[0].flags == Flag.REFINE
    assert mapped(BUILDER.build([0, 1]))[0].flags == 0


def test_extra_data_in_front_of_blocks_is_not_content():
    """quirk("vdi-block-extra")"""
    data = BUILDER.build([1, 0], block=65536, extra=512)
    assert mapped(data) == [
        Extent(0, 65536, Kind.DATA, 0, 1024 + 512 + 66048),
        Extent(65536, 65536, Kind.DATA, 0, 1024 + 512),
    ]
    assert data[1024 + 512 + 66048] == 2 and data[1024 + 512] == 1


def test_blocks_of_another_power_of_two_are_read():
    """quirk("vdi-block-size")"""
    assert hooks.instar_info(image(BUILDER.build([0, None], block=65536))).virtual_size == 131072
    assert mapped(BUILDER.build([0, None], block=65536))[0] == Extent(0, 65536, Kind.DATA, 0, 1024)


@pytest.mark.parametrize("length", (512, 540, 551))
def test_a_block_map_that_the_file_cuts_is_no_map(length):
    """quirk("vdi-cut-map")"""
    data = BUILDER.build([0, None, 2, 1] + [None] * 6)[:length]
    info = hooks.instar_info(image(data))
    assert info.virtual_size == 10 * MIB
    assert info.blocked == "the block map goes on past the end of the file"
    with pytest.raises(FormatError, match="past the end of the file"):
        mapped(data)
    assert lines(data) == ["ERROR: the block map goes on past the end of the file"]


def test_what_is_cut_behind_the_map_reads_as_zeros_and_is_noted():
    data = BUILDER.build([0, 1])[: 1024 + MIB + 5]
    assert mapped(data) == [Extent(0, 2 * MIB, Kind.DATA, 0, 1024)]
    assert lines(data) == ["The file ends before 1 of its blocks do"]


@pytest.mark.parametrize(
    "blocks, fields, wanted",
    [
        ([0, 1, None], {}, []),
        ([0, 1, None], {"allocated": 3}, ["ERROR: allocated blocks mismatch, is 2, should be 3"]),
        ([0, 3, None], {"allocated": 1}, ["ERROR: block index 1 too large, is 3"]),
        ([0, 0, 0], {}, ["ERROR: block index 0 also used by 0"] * 2),
        ([1, 0, 1, 2], {}, ["ERROR: block index 1 also used by 1"]),
        ([2, 0, 1, 2], {}, ["ERROR: block index 2 also used by 2"]),
        ([2, 3, 4], {"allocated": 1}, [f"ERROR: block index {n} too large, is {n + 2}" for n in (1, 2)]),
        ([9, 9], {"allocated": 0}, [f"ERROR: block index {n} too large, is 9" for n in (0, 1)]),
        ([0], {"type": 9}, ["The image type 9 does not exist"]),
    ],
)
def test_what_is_wrong_with_the_map_is_found(blocks, fields, wanted):
    assert lines(BUILDER.build(blocks, stored=10, **fields)) == wanted


def test_every_number_that_was_taken_is_told():
    taken = Taken()
    assert list(taken.take(5, 200_000)) == []
    assert list(taken.take(0, 8)) == [5, 6, 7]
    assert list(taken.take(200_003, 4)) == [200_003, 200_004]
    assert list(taken.take(65_534, 4)) == [65_534, 65_535, 65_536, 65_537]
    assert list(taken.take(300_000, 1)) == [] and list(taken.take(300_000, 1)) == [300_000]


def test_a_disk_of_the_largest_size_is_mapped_and_checked_at_once():
    """The block map of 512 TiB is 2 GiB long; here it is a device that makes it up."""
    blocks = 0x1FFFFF80
    head = BUILDER.build([])[:512]
    for name, value in (("size", blocks * MIB), ("blocks", blocks), ("data", 1 << 31)):
        head = BUILDER.changed(head, name, value)

    class Source:
        size = 1 << 50

        def read(self, offset, length, *, pad=False):
            return head[offset : offset + length].ljust(length, b"\0")

        def unpack(self, layout, offset, *, pad=False):
            return layout.unpack(self.read(offset, layout.size, pad=pad))

        def runs(self, offset, count, width, stride, **_):
            yield 0, count, (offset - 512) // 4, 1

    began = time.monotonic()
    made = list(hooks.instar_map(Image([Source()]), Layer(), Span(0, blocks * MIB)))
    assert made == [Extent(0, blocks * MIB, Kind.DATA, 0, 1 << 31)]
    assert next(found for found in hooks.instar_check(Image([Source()])) if hasattr(found, "severity")).text == (
        f"ERROR: allocated blocks mismatch, is {blocks}, should be 0"
    )
    assert time.monotonic() - began < 20


def test_other_layers_and_other_changes_are_refused():
    data = BUILDER.build([0])
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(hooks.instar_map(image(data), Layer(LayerKind.SNAPSHOT, "1"), Span(0, 1)))
    with pytest.raises(FormatError, match="have no such change"):
        list(hooks.instar_write(image(data), Amend({}), iter(())))
