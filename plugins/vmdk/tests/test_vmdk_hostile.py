"""Headers and descriptors that lie: a plain error in bounded time, in qemu's words where it has some."""

from __future__ import annotations

import random
import struct
import time

import pytest
from instar_vmdk import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Layer, ProbeView, Span

HEAD = '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'


@pytest.fixture(scope="module")
def good(host, tmp_path_factory):
    """The bytes of small images, by subformat."""
    folder = tmp_path_factory.mktemp("good")
    made = {}
    for subformat in ("monolithicSparse", "streamOptimized"):
        path = folder / f"{subformat}.vmdk"
        host.create(path, 3 << 20, bytes(65536) + b"abc" * 50000, subformat=subformat, zeroed_grain=True)
        made[subformat] = path.read_bytes()
    return made


def changed(data, offset, value, layout="<Q"):
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]


@pytest.mark.parametrize(
    "offset, value, layout, message",
    [
        (4, 4, "<I", "Unsupported VMDK version 4"),
        (20, 0, "<Q", "L1 entry size is invalid"),
        (20, 1 << 32, "<Q", "L1 entry size is invalid"),
        (20, 0x200001, "<Q", "Invalid granularity, image may be corrupt"),
        (44, 0, "<I", "L1 entry size is invalid"),
        (44, 0xFFFFFFFF, "<I", "L2 table size too big"),
        (12, 1 << 63, "<Q", "Image size is too large"),
        (12, 1 << 53, "<Q", "L1 size too big"),
        (64, 1 << 40, "<Q", "File truncated, expecting at least 562949953421312 bytes"),
        (56, (1 << 64) - 1, "<Q", "footer"),
        (12, 0, "<Q", "Unsupported image type 'monolithicSparse'"),
    ],
)
def test_a_header_out_of_bounds_is_refused_in_qemus_words(good, offset, value, layout, message):
    with pytest.raises(FormatError, match=message):
        hooks.instar_info(Image([bytes_source(changed(good["monolithicSparse"], offset, value, layout))]))


@pytest.mark.parametrize(
    "offset, value, layout",
    [
        (4, 0, "<I"),
        (8, 0, "<I"),
        (20, 3, "<Q"),
        (28, 1 << 63, "<Q"),
        (36, 1 << 63, "<Q"),
        (56, 1 << 63, "<Q"),
        (77, 2, "<H"),
    ],
)
def test_what_qemu_img_info_overlooks_is_overlooked(good, offset, value, layout):
    info = hooks.instar_info(Image([bytes_source(changed(good["monolithicSparse"], offset, value, layout))]))
    assert info.virtual_size == 3 << 20
    assert info.details["cid"]


@pytest.mark.parametrize(
    "text, message",
    [
        ('version=1\nCID=1\nRW 8 FLAT "a" 0\n', "invalid VMDK image descriptor"),
        (HEAD.replace("monolithicFlat", "foo") + 'RW 8 FLAT "a" 0\n', "Unsupported image type 'foo'"),
        (HEAD.replace("monolithicFlat", "vmfsRaw") + 'RW 8 VMFSRAW "a"\n', "Unsupported image type 'vmfsRaw'"),
        (HEAD.replace("monolithicFlat", "fullDevice") + 'RW 8 FLAT "/dev/sda" 0\n', "Unsupported image type"),
        (HEAD + 'RW 8 FLAT "a"\n', 'Invalid extent line: RW 8 FLAT "a"'),
        (HEAD + 'RW 8 FOO "a" 0\n', 'Invalid extent line: RW 8 FOO "a" 0'),
        (HEAD + 'RW -8 FLAT "a" 0\n', "Invalid extent line"),
        (HEAD + 'RW 8 FLAT "a\n', "Invalid extent line"),
        (HEAD + 'RW 8 FLAT "" 0\n', "Invalid extent line"),
        (HEAD + f'RW {10**30} FLAT "a" 0\n', "Invalid extent line"),
        (HEAD + 'RW 8 FLAT "a" -1\n', "Invalid extent line"),
        (HEAD + 'RW 8 SPARSE "a" 0\n', "Invalid extent line"),
        (HEAD + f'RW {1 << 53} FLAT "a" 0\n' * 3, "too large"),
        (HEAD + 'RW 8 FLAT "a" 0\n' * 4097, "more than 4096 extents"),
        (HEAD + "\n" * 100000 + 'RW 8 FLAT "a" 0\n', "more than 4096 extents"),
        (HEAD + f'parentFileNameHint="{"x" * 5000}"\nRW 8 FLAT "a" 0\n', "too long"),
        (HEAD + "foo\n", "names no extent"),
        (HEAD, "names no extent"),
        ("ab", "File is too small, not a valid image"),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        hooks.instar_info(Image([bytes_source(text.encode())]))


@pytest.mark.parametrize("name", ("/etc/passwd", "../x", "json:{}", "nbd://127.0.0.1:1/x", "a b", "\N{SNOWMAN}"))
def test_a_name_is_handed_over_as_it_stands(name):
    info = hooks.instar_info(Image([bytes_source((HEAD + f'RW 8 FLAT "{name}" 0\n').encode())]))
    assert [reference.name for reference in info.references] == [name.encode()]
    assert info.details["extents"][0]["filename"] == name


def test_a_name_that_is_not_utf_8_is_kept_and_shown_replaced():
    info = hooks.instar_info(Image([bytes_source(HEAD.encode() + b'RW 8 FLAT "a\xff" 0\n')]))
    assert info.references[0].name == b"a\xff"
    assert info.details["extents"][0]["filename"] == "a\N{REPLACEMENT CHARACTER}"


def test_what_follows_a_nul_is_not_read():
    text = HEAD.encode() + b'RW 8 FLAT "a" 0\n\0RW 8 FLAT "b" 0\n'
    assert [reference.name for reference in hooks.instar_info(Image([bytes_source(text)])).references] == [b"a"]


def everything(image):
    """All that can be asked of an image, or its FormatError."""
    try:
        info = hooks.instar_info(image)
        window = min(info.virtual_size, 1 << 32)
        at = 0
        for extent in hooks.instar_map(image, Layer(), Span(0, window)):
            assert extent.start == at and extent.length > 0
            at += extent.length
        assert at == window
        for _ in hooks.instar_check(image):
            pass
    except FormatError:
        return


@pytest.mark.parametrize("subformat", ("monolithicSparse", "streamOptimized"))
def test_cut_files_give_an_answer_or_a_format_error(good, subformat):
    data = good[subformat]
    for size in [*range(0, 2048, 97), *range(2048, len(data), 7001)]:
        everything(Image([bytes_source(data[:size])]))


@pytest.mark.parametrize("subformat", ("monolithicSparse", "streamOptimized"))
def test_flipped_bits_give_an_answer_or_a_format_error(good, subformat):
    choose = random.Random(11)
    data = bytearray(good[subformat])
    places = [*range(80), *range(512, 900), *(choose.randrange(len(data)) for _ in range(150))]
    for place in choose.sample(places, 250):
        was = data[place]
        data[place] ^= 1 << choose.randrange(8)
        everything(Image([bytes_source(bytes(data))]))
        data[place] = was


@pytest.mark.parametrize("offset", range(4, 72, 4))
@pytest.mark.parametrize("value", (0, 1, 0x7FFFFFFF, 0xFFFFFFFF))
def test_extreme_numbers_give_an_answer_or_a_format_error(good, offset, value):
    for data in good.values():
        everything(Image([bytes_source(changed(data, offset, value, "<I"))]))


def test_a_huge_capacity_in_a_small_file_is_mapped_at_once(good):
    data = changed(good["monolithicSparse"], 12, 1 << 41)
    data = changed(data, 56, len(data) // 512 + 1)
    began = time.monotonic()
    extents = list(hooks.instar_map(Image([bytes_source(data)]), Layer(), Span(0, 1 << 50)))
    assert len(extents) == 1
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "head, claimed",
    [
        (b"KDMV" + bytes(508), True),
        (b"COWD" + bytes(508), True),
        (b"# Disk DescriptorFile\nversion=1\n", True),
        (b"# Disk DescriptorFile\r\nfoo\r\n", True),
        (b"# comment\n\n  \nversion=2\r\n", True),
        (b"# comment\nversion=4\n", False),
        (b"version=10\n", False),
        (b"", False),
        (b"# only a comment", False),
        (b"QFI\xfb", False),
    ],
)
def test_the_probe_claims_what_is_vmdk(head, claimed):
    assert bool(hooks.instar_probe(ProbeView(head, b"", len(head)))) == claimed
