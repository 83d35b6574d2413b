"""Headers and tables that lie: a plain error in bounded time, in qemu's words where it has some."""

from __future__ import annotations

import random
import struct
import time

import pytest
from instar_qcow import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, LayerKind, ProbeView, Span

SIZE = 4 << 20


@pytest.fixture(scope="module")
def good(builder):
    return builder(SIZE, {0: b"a", 1: b"b", 7: b"c", 600: b"d"}, 12, 9, backing=b"base.raw")


def changed(data, offset, value, layout):
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]


HEADERS = [
    (0, 0, ">I", "Image not in qcow format"),
    (4, 2, ">I", "qcow (v1) does not support qcow version 2"),
    (4, 0, ">I", "qcow (v1) does not support qcow version 0"),
    (16, 1024, ">I", "Backing file name too long"),
    (16, 5000, ">I", "Backing file name too long"),
    (24, 0, ">Q", "Image size is too small (must be at least 2 bytes)"),
    (24, 1, ">Q", "Image size is too small (must be at least 2 bytes)"),
    (24, 1 << 62, ">Q", "Image too large"),
    (24, 1 << 63, ">Q", "Image too large"),
    (24, (1 << 64) - 1, ">Q", "Image too large"),
    (32, 8, ">B", "Cluster size must be between 512 and 64k"),
    (32, 17, ">B", "Cluster size must be between 512 and 64k"),
    (32, 255, ">B", "Cluster size must be between 512 and 64k"),
    (33, 5, ">B", "L2 table size must be between 512 and 64k"),
    (33, 14, ">B", "L2 table size must be between 512 and 64k"),
    (33, 63, ">B", "L2 table size must be between 512 and 64k"),
    (36, 2, ">I", "invalid encryption method in qcow header"),
    (36, 0xFFFFFFFF, ">I", "invalid encryption method in qcow header"),
    (40, 1 << 63, ">Q", "Input/output error"),
    (8, 1 << 63, ">Q", "Input/output error"),
]


@pytest.mark.parametrize("offset, value, layout, message", HEADERS)
def test_a_header_out_of_bounds_is_refused(good, offset, value, layout, message):
    with pytest.raises(FormatError) as raised:
        hooks.instar_info(Image([bytes_source(changed(good, offset, value, layout))]))
    assert raised.value.message.startswith(message)


@pytest.mark.oracle
@pytest.mark.parametrize("offset, value, layout, message", HEADERS)
def test_qemu_refuses_the_same_in_the_same_words(good, offset, value, layout, message, tmp_path, programs):
    (tmp_path / "t").write_bytes(changed(good, offset, value, layout))
    done = programs.img("info", "-f", "qcow", "t", check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.decode()


@pytest.mark.oracle
@pytest.mark.parametrize("size", (2, 511, 512, 513, 1023))
def test_a_size_counts_in_whole_sectors_as_for_qemu(good, size, tmp_path, programs):
    data = changed(good, 24, size, ">Q")
    (tmp_path / "t").write_bytes(data)
    ours = hooks.instar_info(Image([bytes_source(data)]))
    assert ours.virtual_size == programs.answer("info", tmp_path / "t")["virtual-size"]


@pytest.mark.parametrize("name", (b"/etc/passwd", b"../x", b"json:{}", b"nbd://localhost/x", b"\xff\xfe", b"a" * 1023))
def test_a_name_is_handed_over_as_it_stands(name, builder):
    info = hooks.instar_info(Image([bytes_source(builder(SIZE, {}, 12, 9, backing=name))]))
    assert [(one.name, one.format) for one in info.references] == [(name, None)]


def test_a_name_ends_at_a_nul(builder):
    info = hooks.instar_info(Image([bytes_source(builder(SIZE, {}, 12, 9, backing=b"a\0b"))]))
    assert [one.name for one in info.references] == [b"a"]


def test_no_other_layer_exists(good):
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(hooks.instar_map(Image([bytes_source(good)]), Layer(LayerKind.SNAPSHOT, "1"), Span(0, 512)))


@pytest.mark.parametrize("value", (4097, (1 << 62) + 512, 1 << 63, 1 << 63 | 4096))
def test_an_entry_that_makes_no_sense_cannot_be_mapped(good, value):
    table = int.from_bytes(good[56:64], "big")
    data = changed(good, table + 8, value, ">Q")
    image = Image([bytes_source(data)])
    with pytest.raises(FormatError, match="L2 entry of cluster 1 makes no sense"):
        list(hooks.instar_map(image, Layer(), Span(0, SIZE)))
    assert list(hooks.instar_map(image, Layer(), Span(8192, 4096)))


@pytest.mark.oracle
def test_a_cluster_at_no_sector_cannot_be_read_by_qemu_either(good, tmp_path, programs):
    table = int.from_bytes(good[56:64], "big")
    (tmp_path / "base.raw").write_bytes(bytes(SIZE))
    (tmp_path / "t").write_bytes(changed(good, table + 8, 4097, ">Q"))
    done = programs.img("convert", "-f", "qcow", "-O", "raw", "t", "o", check=False, cwd=tmp_path)
    assert done.returncode == 1


def test_a_table_where_no_file_reaches_cannot_be_mapped(good):
    image = Image([bytes_source(changed(good, 56, (1 << 63) + 4096, ">Q"))])
    with pytest.raises(FormatError, match="no file reaches"):
        list(hooks.instar_map(image, Layer(), Span(0, SIZE)))


def test_tables_past_the_end_read_as_zeros(good):
    image = Image([bytes_source(changed(good, 56, 1 << 50, ">Q"))])
    found = list(hooks.instar_map(image, Layer(), Span(0, 2 << 20)))
    assert [extent.kind for extent in found] == [Kind.ABSENT]
    far = Image([bytes_source(changed(good, 40, 1 << 50, ">Q"))])
    assert [extent.kind for extent in hooks.instar_map(far, Layer(), Span(0, SIZE))] == [Kind.ABSENT]


def test_a_run_of_entries_that_overflows_into_the_flag_is_taken_one_by_one(builder):
    data = builder(SIZE, {0: b"a", 1: b"b"}, 12, 9)
    table = int.from_bytes(data[48:56], "big")
    for index in range(4):
        data = changed(data, table + 8 * index, (1 << 63) - 8192 + 4096 * index, ">Q")
    image = Image([bytes_source(data)])
    with pytest.raises(FormatError, match="makes no sense"):
        list(hooks.instar_map(image, Layer(), Span(0, SIZE)))


def everything(data):
    """All that can be asked of an image, or its FormatError."""
    image = Image([bytes_source(data)])
    try:
        info = hooks.instar_info(image)
        window = min(info.virtual_size, 1 << 32)
        at = 0
        for extent in hooks.instar_map(image, Layer(), Span(0, window)):
            assert extent.start == at and extent.length > 0
            at += extent.length
        assert at == window
    except FormatError:
        pass
    try:
        for _ in hooks.instar_check(image):
            pass
    except FormatError:
        return


def test_cut_files_give_an_answer_or_a_format_error(good):
    for size in [*range(0, 1024, 31), *range(1024, len(good), 3001)]:
        everything(good[:size])


def test_flipped_bits_give_an_answer_or_a_format_error(good):
    choose = random.Random(11)
    data = bytearray(good)
    for place in [*range(4, 80), *(choose.randrange(len(data)) for _ in range(150))]:
        was = data[place]
        data[place] ^= 1 << choose.randrange(8)
        everything(bytes(data))
        data[place] = was


def test_the_largest_disk_in_a_small_file_is_mapped_and_checked_at_once(good):
    data = changed(good, 24, ((1 << 31) - 8) // 8 << 21, ">Q") + good[56:72]
    data = changed(data, 40, len(good), ">Q")
    began = time.monotonic()
    image = Image([bytes_source(data)])
    size = hooks.instar_info(image).virtual_size
    assert size > 1 << 48
    assert len(list(hooks.instar_map(image, Layer(), Span(0, size)))) < 1000
    everything(data)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "head, claimed",
    [
        (b"QFI\xfb\0\0\0\1", True),
        (b"QFI\xfb\0\0\0\2", False),
        (b"QFI\xfb\0\0\0\0", False),
        (b"QFI\xfb", False),
        (b"", False),
    ],
)
def test_the_probe_claims_version_1_only(head, claimed):
    assert bool(hooks.instar_probe(ProbeView(head, b"", len(head)))) == claimed
