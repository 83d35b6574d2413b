"""Trailers, lists and tables that lie: a plain error in bounded time."""

from __future__ import annotations

import plistlib
import random
import struct
import time
import zlib

import pytest
from instar_dmg import hooks, limits

from instar_core.errors import ErrorKind, FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Layer, LayerKind, Span

U64 = (1 << 64) - 1
LIST = "<plist><dict><key>resource-fork</key><dict><key>blkx</key><array>%s</array></dict></dict></plist>"


@pytest.fixture(scope="module")
def good(several):
    return several(seed=1)


def refused(data):
    """The FormatError that asking for everything leads to."""
    with pytest.raises(FormatError) as raised:
        image = Image([bytes_source(data)])
        info = hooks.instar_info(image)
        list(hooks.instar_map(image, Layer(), Span(0, info.virtual_size)))
    return raised.value


TRAILERS = [
    ({"xml_offset": 1 << 40}, "Invalid argument"),
    ({"xml_offset": U64}, "Invalid argument"),
    ({"xml_length": 1 << 40}, "Invalid argument"),
    ({"xml_length": 0}, "Invalid argument"),
    ({"rsrc_offset": 1 << 40, "rsrc_length": 100}, "Invalid argument"),
    ({"rsrc_offset": 0, "rsrc_length": U64}, "Invalid argument"),
    ({"data_offset": 1 << 40}, "Invalid argument"),
    ({"sectors": 1 << 63}, "Invalid argument"),
]


@pytest.mark.parametrize("fields, message", TRAILERS, ids=str)
def test_a_trailer_out_of_bounds_is_refused(fields, message, good):
    assert refused(good.build(**fields)).message.startswith(message)


@pytest.mark.oracle
@pytest.mark.parametrize("fields, message", TRAILERS, ids=str)
def test_qemu_refuses_the_same(fields, message, good, tmp_path, programs):
    (tmp_path / "t").write_bytes(good.build(**fields))
    done = programs.img("info", "-f", "dmg", tmp_path / "t", check=False)
    assert done.returncode == 1
    assert done.stderr.decode().rstrip().endswith(message)


def test_several_segments_are_refused(good):
    assert "divided over 2 files" in refused(good.build(segments=2)).message


@pytest.mark.parametrize("data", (b"encrcdsa" + bytes(600), bytes(600) + b"cdsaencr"))
def test_encrypted_images_are_refused_by_name(data):
    error = refused(data)
    assert error.kind == ErrorKind.UNSUPPORTED
    assert "encrypted" in error.message


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "dmg file must be at least 512 bytes long"),
        (b"koly" + bytes(507), "dmg file must be at least 512 bytes long"),
        (bytes(4096), "Could not locate UDIF trailer in dmg file"),
        (b"koly" + bytes(2000), "Could not locate UDIF trailer in dmg file"),
    ],
)
def test_what_is_no_image_is_refused_in_qemus_words(data, message):
    assert refused(data).message == message


@pytest.mark.parametrize(
    "plist, message",
    [
        (b"", "Invalid argument"),
        (b"<plist>", "cannot be parsed"),
        (b"no list", "cannot be parsed"),
        (b'<!DOCTYPE plist [<!ENTITY a "b">]><plist></plist>', "document type of its own"),
        (b'<!DOCTYPE plist [<!ENTITY % a SYSTEM "file:///etc/passwd">%a;]><plist></plist>', "document type of its own"),
        (b"<plist>&unknown;</plist>", "cannot be parsed"),
        (b"<plist>" + b"<array>" * 1000 + b"</array>" * 1000 + b"</plist>", "nested too deeply"),
        ((LIST % "<dict><key>Data</key><data>bWlzaA==</data></dict>").encode(), "a block table is none"),
        ((LIST % "<dict><key>Data</key><data>A</data></dict>").encode(), "cannot be decoded"),
        ((LIST % ("<dict><key>Data</key><data></data></dict>" * 1025)).encode(), "more than 1024 block tables"),
        (b"\xff\xfe<\0p\0", "cannot be parsed"),
        (b"<plist>\xff</plist>", "cannot be parsed"),
    ],
)
def test_a_property_list_that_makes_no_sense_is_refused(plist, message, good):
    assert message in refused(good.build(plist=plist)).message


def test_a_list_that_names_another_encoding_is_read_as_utf_8(good, opened):
    """The codec of another would be looked for in the file system, which the sandbox forbids."""
    plain = plistlib.dumps({"resource-fork": {"blkx": [{"Data": data} for _, data in good.tables]}})
    for name in (b"cp437", b"utf-7", b"shift_jis", b"unknown"):
        plist = plain.replace(b'encoding="UTF-8"', b'encoding="' + name + b'"')
        assert name in plist
        assert opened(good.build(plist=plist)).content() == good.content


def test_an_external_document_type_is_not_fetched(good, opened):
    assert b"http://www.apple.com/DTDs/" in good.build()
    assert opened(good.build()).content() == good.content


def test_data_elsewhere_in_the_list_is_no_block_table(good, opened):
    tables = [{"Data": data, "Inner": {"Data": b"x"}, "List": [b"y"]} for _, data in good.tables]
    plist = plistlib.dumps({"blkx": [{"Data": b"z"}], "resource-fork": {"other": [{"Data": b"z"}], "blkx": tables}})
    assert opened(good.build(plist=plist)).content() == good.content


def test_a_list_that_is_too_long_is_refused(good, monkeypatch):
    monkeypatch.setattr(limits, "PLIST", 100)
    assert "too long" in refused(good.build()).message
    monkeypatch.setattr(limits, "RSRC", 100)
    assert "too long" in refused(good.build(rsrc=True)).message


def test_more_chunks_than_the_limit_are_refused(good, monkeypatch):
    monkeypatch.setattr(limits, "CHUNKS", 3)
    assert "more than 3 chunks" in refused(good.build()).message


def sole(builder, *chunks, sectors=8, claimed=None, **more):
    """An image with one table of these chunks: (type, first sector, sectors, offset, length)."""
    made = builder.Image()
    made.fork = bytearray(zlib.compress(bytes(4096)).ljust(8192, b"\0"))
    data = builder.table(0, chunks, b"", **more)
    if claimed is not None:
        data = data[:200] + struct.pack(">I", claimed) + data[204:]
    made.tables.append(("a", data))
    return made.build(sectors=sectors)


ZLIB, RAW, ZERO = 0x80000005, 1, 0


@pytest.mark.parametrize(
    "chunks, message",
    [
        ([(ZLIB, 0, 131073, 0, 100)], "Invalid argument: a chunk of 131073 sectors"),
        ([(ZLIB, 0, 8, 0, (64 << 20) + 1)], "Invalid argument: a chunk of 8 sectors"),
        ([(0x80000006, 0, U64, 0, 1)], "Invalid argument: a chunk of"),
        ([(ZLIB, 0, 8, 0, 0)], "claims 0 bytes"),
        ([(RAW, 0, 8, 0, 4095)], "claims 4095 bytes"),
        ([(RAW, 0, 8, U64, 4096)], "claims 4096 bytes"),
        ([(ZLIB, 0, 8, 1 << 63, 100)], "claims 100 bytes"),
        ([(0x80000009, 0, 8, 0, 100)], "chunks of the type 0x80000009 cannot be read"),
        ([(3, 0, 8, 0, 100)], "chunks of the type 0x00000003 cannot be read"),
        ([(ZERO, 0, 4, 0, 0)], "no chunk holds the sector 4"),
        ([(ZERO, 1, 7, 0, 0)], "no chunk holds the sector 0"),
        ([(ZERO, 0, 3, 0, 0), (ZERO, 4, 4, 0, 0)], "no chunk holds the sector 3"),
        ([(ZERO, 0, 5, 0, 0), (ZERO, 4, 4, 0, 0)], "two chunks hold the sector 4"),
        ([(ZERO, 0, 8, 0, 0), (ZERO, 0, 8, 0, 0)], "two chunks hold the sector 0"),
        ([], "no chunk holds the sector 0"),
    ],
)
def test_chunks_that_make_no_sense_are_refused(chunks, message, builder):
    assert message in refused(sole(builder, *chunks)).message


@pytest.mark.oracle
@pytest.mark.parametrize("chunk", [(ZLIB, 0, 131073, 0, 100), (ZLIB, 0, 8, 0, (64 << 20) + 1)])
def test_qemu_refuses_chunks_that_are_too_large(chunk, builder, tmp_path, programs):
    """CVE-2014-0145."""
    (tmp_path / "t").write_bytes(sole(builder, chunk))
    assert programs.img("info", "-f", "dmg", tmp_path / "t", check=False).returncode == 1


@pytest.mark.parametrize("claimed", (2, 1 << 20, 0xFFFFFFFF))
def test_a_table_with_less_chunks_than_it_says_is_refused(claimed, builder):
    assert "less chunks than it says" in refused(sole(builder, (ZERO, 0, 8, 0, 0), claimed=claimed)).message


def test_numbers_that_wrap_around_are_taken_as_64_bits(builder, opened):
    image = opened(sole(builder, (ZERO, 0, 8, 0, 0), (ZERO, U64 - 3, 8, 0, 0), (ZERO, 8, U64, 0, 0)))
    assert sum(extent.length for extent in image.extents()) == 4096
    assert opened(sole(builder, (ZERO, 0, U64, 0, 0))).content() == bytes(4096)


def test_a_huge_disk_of_zeros_is_one_extent(builder, opened):
    sectors = ((1 << 63) - 512) // 512
    (extent,) = opened(sole(builder, (ZERO, 0, sectors, 0, 0), sectors=sectors)).extents()
    assert extent.length == sectors * 512


def test_many_chunks_are_mapped_and_checked_in_good_time(builder, opened):
    chunks = [(RAW, at, 1, (at * 7919 % 16) * 512, 512) for at in range(100_000)]
    image = opened(sole(builder, *chunks, sectors=100_000))
    began = time.monotonic()
    assert len(image.extents()) > 90_000
    image.check()
    assert time.monotonic() - began < 20


def test_no_other_layer_exists(good):
    image = Image([bytes_source(good.build())])
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(hooks.instar_map(image, Layer(LayerKind.SNAPSHOT, "1"), Span(0, 512)))


def everything(data):
    """All that can be asked of an image, or its FormatError."""
    image = Image([bytes_source(data)])
    try:
        info = hooks.instar_info(image)
        list(hooks.instar_map(image, Layer(), Span(0, min(info.virtual_size, 1 << 32))))
    except FormatError:
        pass
    try:
        list(hooks.instar_check(image))
    except FormatError:
        return


@pytest.mark.parametrize("rsrc", (False, True), ids=("plist", "resource fork"))
def test_flipped_bits_give_an_answer_or_a_format_error(good, rsrc):
    choose = random.Random(11)
    data = bytearray(good.build(rsrc=rsrc))
    start = len(good.fork)
    for _ in range(400):
        place = choose.choice((choose.randrange(start, len(data)), len(data) - 1 - choose.randrange(512)))
        was = data[place]
        data[place] ^= 1 << choose.randrange(8)
        everything(bytes(data))
        data[place] = was


@pytest.mark.parametrize("cut", range(0, 8000, 173))
def test_a_resource_fork_that_is_cut_gives_an_answer_or_a_format_error(good, cut):
    data = good.build(rsrc=True)
    size = len(data) - 512 - len(good.fork)
    everything(good.build(rsrc=True, rsrc_length=max(1, size - cut)))


EXTREME = (0, 1, 3, 511, 0x7FFFFFFF, 0x80000008, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, U64 - 511, U64)


def test_extreme_numbers_in_tables_give_an_answer_or_a_format_error(several):
    data = several(["raw", "zlib", "zero", "bzip2"], seed=12).build(rsrc=True)
    at = data.index(b"mish")
    fields = [(at - 4, 4), (at + 8, 8), (at + 16, 8), (at + 24, 8), (at + 200, 4)]
    for chunk in range(at + 204, at + 204 + 6 * 40, 40):
        fields += [(chunk, 4), (chunk + 8, 8), (chunk + 16, 8), (chunk + 24, 8), (chunk + 32, 8)]
    for offset, width in fields:
        for value in EXTREME:
            number = (value % (1 << 8 * width)).to_bytes(width, "big")
            everything(data[:offset] + number + data[offset + width :])
