"""Headers, catalogs and bitmaps that lie: a plain error, in qemu-img's words where it has some."""

from __future__ import annotations

import random

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source

MIB = 1 << 20
FIELDS = [
    (0, 0, "<I", "Image not in Bochs format"),
    (22, 0x20, "<B", "Image not in Bochs format"),
    (32, 0, "<I", "Image not in Bochs format"),
    (48, 0, "<I", "Image not in Bochs format"),
    (64, 0, "<I", "Image not in Bochs format"),
    (64, 0x30000, "<I", "Image not in Bochs format"),
    (72, 0xFFFFFFFF, "<I", "Catalog size is too large"),
    (72, 0x100001, "<I", "Catalog size is too large"),
    (72, 0, "<I", "Catalog size is too small for this disk size"),
    (72, 255, "<I", "Catalog size is too small for this disk size"),
    (80, 0, "<I", "Extent size must be at least 512"),
    (80, 256, "<I", "Extent size must be at least 512"),
    (80, 513, "<I", "Extent size 513 is not a power of two"),
    (80, 0xFFFFFFFF, "<I", "Extent size 4294967295 is not a power of two"),
    (80, 1 << 24, "<I", "Extent size 16777216 is too large"),
    (80, 1 << 31, "<I", "Extent size 2147483648 is too large"),
    (80, 512, "<I", "Catalog size is too small for this disk size"),
    (88, 1 << 63, "<Q", "Catalog size is too small for this disk size"),
    (88, (1 << 64) - 1, "<Q", "Catalog size is too small for this disk size"),
]


@pytest.fixture
def good(builder):
    return builder.build(MIB, [0, 1, 9, 300])


@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_a_header_out_of_bounds_is_refused(offset, value, layout, message, good, builder, subject):
    with pytest.raises(FormatError) as caught:
        subject.info(Image([bytes_source(builder.changed(good, offset, value, layout))]))
    assert caught.value.message == message


@pytest.mark.oracle
@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_qemu_refuses_it_in_the_same_words(offset, value, layout, message, good, builder, programs, tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(builder.changed(good, offset, value, layout))
    said = programs.img("info", "-f", "bochs", path, check=False).stderr.decode()
    assert said == f"qemu-img: Could not open '{path}': {message}\n"


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(40))
def test_any_header_is_refused_as_by_qemu(seed, good, builder, programs, subject, tmp_path):
    choose = random.Random(seed)
    data = good
    for _ in range(choose.choice((1, 1, 2, 3))):
        offset, width = choose.choice(((64, 4), (68, 4), (72, 4), (76, 4), (80, 4), (88, 8)))
        old = int.from_bytes(data[offset : offset + width], "little")
        value = choose.choice((0, 1, 2, 511, old * 2, old // 2, old + 1, 1 << 8 * width - 1, choose.getrandbits(21)))
        data = data[:offset] + (value % (1 << 8 * width)).to_bytes(width, "little") + data[offset + width :]
    path = tmp_path / "disk.img"
    path.write_bytes(data)
    said = programs.img("info", "-f", "bochs", path, check=False).stderr.decode()
    try:
        subject.info(Image([bytes_source(data)]))
        mine = ""
    except FormatError as error:
        mine = f"qemu-img: Could not open '{path}': {error.message}\n"
    assert mine == said


@pytest.mark.parametrize("entry", (3, 0x7FFFFFFF, 0xFFFFFFFE))
def test_an_extent_past_the_end_is_an_error_where_qemu_reads_zeros(entry, builder, subject, programs, tmp_path):
    """quirk("bochs-cut")"""
    data = builder.build(MIB, [0, 9, 300], catalog={7: entry})
    image = Image([bytes_source(data)])
    with pytest.raises(FormatError, match=r"the extent for byte 28672 is not inside the file"):
        list(subject.map(image, 0, MIB))
    assert list(subject.map(image, 0, 28672))
    path = tmp_path / "disk.img"
    path.write_bytes(data)
    assert programs.content(path) == builder.disk(MIB, [0, 9, 300])


def test_sectors_past_the_end_are_left_to_the_host_to_refuse(good, subject):
    info = subject.info(Image([bytes_source(good)]))
    assert info.partial is False


def test_a_catalog_past_the_end_is_an_error_when_it_is_needed(good, builder, subject):
    data = builder.changed(good, 68, 0xFFFFFFF0)
    image = Image([bytes_source(data)])
    assert subject.info(image).virtual_size == MIB
    for stream in (subject.map(image, 0, MIB), subject.check(image)):
        with pytest.raises(FormatError, match="the file ends at"):
            list(stream)


@pytest.mark.parametrize(("bitmap", "extent"), ((0, 4096), (1, 8192), (511, 1 << 21), (512, 1 << 22)))
def test_bitmaps_too_small_for_their_extents_block_the_content(bitmap, extent, builder, subject):
    """quirk("bochs-small-bitmap")"""
    head = builder.header(4096, extent, MIB, bitmap=bitmap).ljust(512, b"\0")
    image = Image([bytes_source(head + bytes(MIB))])
    assert f"Bitmap size {bitmap} is too small" in subject.info(image).blocked
    with pytest.raises(FormatError, match="too small"):
        list(subject.map(image, 0, MIB))
    with pytest.raises(FormatError, match="too small"):
        list(subject.check(image))


def test_a_bitmap_of_four_gigabytes_costs_nothing(builder, subject):
    image = Image([bytes_source(builder.build(MIB, [0], catalog={0: 0})[:-1])])
    assert list(subject.map(image, 0, 512))
    huge = builder.changed(builder.build(MIB, [0]), 76, 0xFFFFFFFF)
    with pytest.raises(FormatError, match="not inside the file"):
        list(subject.map(Image([bytes_source(huge)]), 0, MIB))


def test_the_largest_catalog_of_nothing_is_mapped_at_once(builder, subject):
    data = builder.build(1 << 43, [], extent=1 << 23, bitmap=2048)
    image = Image([bytes_source(data)])
    assert [one.length for one in subject.map(image, 0, 1 << 43)] == [1 << 43]
