"""Hostile images: every bound, with its message, in qemu's words where it has some."""

from __future__ import annotations

import struct

import pytest
from instar_vpc import hooks, limits

from instar_core.errors import ErrorKind, FormatError
from instar_core.operations.info import info
from instar_core.settings import Settings
from instar_core.source import Image, Source, bytes_source
from instar_core.types import Layer, Span

INLINE = Settings(sandbox="inline")


def quirk(name):
    """Marks the test that proves an entry of docs/quirks.toml."""
    return name


def refusal(data):
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(Image([bytes_source(bytes(data))]))
    return caught.value


@pytest.fixture
def image(builder):
    return builder.dynamic(9 << 20, {3: (b"three", None), 0: (b"zero", None)})


U32, U64 = struct.Struct(">I").pack, struct.Struct(">Q").pack
CASES = {
    "data offset far": (16, U64(1 << 63), "Error reading dynamic VHD header"),
    "data offset 0": (16, U64(0), "Invalid header magic"),
    "header cookie": (512, b"cxsparsf", "Invalid header magic"),
    "entries all ones": (540, b"\xff" * 4, "Max Table Entries too large (-1)"),
    "entries one too many": (540, U32(1 << 29), "Max Table Entries too large (536870912)"),
    "no entries": (540, U32(0), "Page table too small"),
    "an entry too few": (540, U32(4), "Page table too small"),
    "block 0": (544, U32(0), "Invalid block size 0"),
    "block 511": (544, U32(511), "Invalid block size 511"),
    "block 3 MiB": (544, U32(3 << 20), "Invalid block size 3145728"),
    "table far": (528, U64(1 << 63), "Error reading pagetable"),
    "size": (48, U64(1 << 62), "File too large"),
    "size a sector too large": (48, U64(2040 * 2**30 + 512), "File too large"),
    "a block past the end": (
        1540,
        U32(0x10000),
        "block-vpc: free_data_block_offset points after the end of file. The image has been truncated.",
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
def test_a_field_out_of_bounds_is_refused_in_the_words_of_qemu(programs, builder, image, tmp_path, case):
    at, new, text = CASES[case]
    data = builder.resealed(image, at, new)
    assert str(refusal(data)) == text
    path = tmp_path / "bad.vhd"
    path.write_bytes(data)
    assert programs.refusal(path) == text


@pytest.mark.oracle
def test_files_that_are_none_are_refused_in_the_words_of_qemu(programs, builder, image, tmp_path):
    path = tmp_path / "bad.vhd"
    wrong = bytearray(image[:-512])
    wrong[40] ^= 1
    fixed = bytearray(builder.fixed(bytes(4096)))
    fixed[-1] ^= 1
    for data in (b"", bytes(511), bytes(512), bytes(5000), image[:100], image[:512], wrong, fixed):
        path.write_bytes(data)
        assert str(refusal(data)) == programs.refusal(path), len(data)


@pytest.mark.oracle
def test_a_file_cut_anywhere_is_refused_as_by_qemu(programs, image, tmp_path):
    path = tmp_path / "cut.vhd"
    for size in (1536, 1540, 2048, 4096, len(image) // 2, len(image) - 1024):
        path.write_bytes(image[:size])
        programs.refusal(path)
        refusal(image[:size])
    path.write_bytes(image[:-512])
    assert programs.answer("info", path)["virtual-size"] == 9 << 20
    assert hooks.instar_info(Image([bytes_source(image[:-512])])).virtual_size == 9 << 20


@pytest.mark.oracle
def test_tables_and_blocks_that_no_program_writes_are_refused(programs, builder, image, tmp_path):
    assert quirk("vpc-odd-blocks")
    path = tmp_path / "odd.vhd"
    path.write_bytes(builder.dynamic(8192, {1: (b"x", None)}, block=512))
    assert programs.answer("info", path)["cluster-size"] == 512
    assert str(refusal(path.read_bytes())) == "Invalid block size 512"
    blocks = limits.BLOCKS + 1
    head = builder.footer(blocks * 4096, 3) + builder.header(blocks, 4096)
    error = refusal(head)
    assert (str(error), error.kind) == (f"a disk of {blocks} blocks has too many", ErrorKind.LIMIT)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(1536 + 4 * blocks)
    assert programs.answer("info", path)["cluster-size"] == 4096


def test_a_table_of_the_largest_size_is_walked_in_pieces(builder):
    blocks = limits.BLOCKS
    head = builder.footer(blocks * 4096, 3) + builder.header(blocks, 4096)
    asked = []

    def pread(length, offset):
        asked.append(length)
        assert length <= 1 << 20
        return (head[offset : offset + length] if offset < len(head) else b"").ljust(length, b"\xff")

    source = Source(pread, 1536 + 4 * blocks, 0)
    assert hooks.instar_info(Image([source])).virtual_size == blocks * 4096
    assert len(list(hooks.instar_map(Image([source]), Layer(), Span(0, blocks * 4096)))) == 1
    assert sum(asked) < 16 * blocks


@pytest.mark.oracle
def test_a_first_sector_that_contradicts_the_footer_of_a_fixed_disk_is_refused(programs, builder, tmp_path):
    """The first sector of a fixed disk is the guest's. One who writes a footer there may not choose a parent."""
    assert quirk("vpc-two-footers")
    path = tmp_path / "disk.vhd"
    evil = builder.dynamic(1 << 20, {}, kind=4, names=((b"MacX", b"file:///etc/passwd"),))
    for kind, data in ((4, evil), (3, builder.dynamic(1 << 20, {}))):
        path.write_bytes(builder.fixed(data.ljust(1 << 20, b"\0")))
        assert programs.answer("info", path)["cluster-size"] == 2 << 20, kind
        with pytest.raises(
            FormatError, match="the footer says that the disk is fixed, its first sector that it is not"
        ):
            info(str(path), settings=INLINE)
    own = builder.fixed(bytes(512))[-512:]
    path.write_bytes(builder.fixed(own.ljust(1 << 20, b"\0")))
    (said,) = info(str(path), settings=INLINE)
    assert (said.image.extra["subformat"], said.image.virtual_size) == ("fixed", 1 << 20)
    broken = b"conectix".ljust(1 << 20, b"\0")
    path.write_bytes(builder.fixed(broken))
    assert info(str(path), settings=INLINE)[0].image.virtual_size == 1 << 20


@pytest.mark.oracle
def test_a_disk_type_that_does_not_exist_shows_its_facts_but_no_content(programs, builder, tmp_path):
    assert quirk("vpc-disk-type")
    path = tmp_path / "disk.vhd"
    for kind in (0, 1, 5, 6, 99, 0xFFFFFFFF):
        path.write_bytes(builder.dynamic(9 << 20, {}, kind=kind))
        assert programs.answer("info", path)["virtual-size"] == 9 << 20
        image = Image([bytes_source(path.read_bytes())])
        said = hooks.instar_info(image)
        assert said.virtual_size == 9 << 20
        assert said.blocked == f"disk type {kind} is none of fixed, dynamic and differencing"
        with pytest.raises(FormatError, match="is not known"):
            list(hooks.instar_map(image, Layer(), Span(0, 512)))


def child(builder, locators, **fields):
    names = ((b"MacX", b"file://x"),)
    data = bytearray(builder.dynamic(1 << 20, {}, kind=4, names=names, header_fields=fields))
    for number, (code, offset, length) in enumerate(locators):
        struct.pack_into(">4sIIIQ", data, 512 + 576 + 24 * number, code, 512, length, 0, offset)
    return bytes(data)


def test_locators_out_of_bounds_are_refused(builder):
    assert refusal(child(builder, [(b"W2ru", 2048, limits.LOCATOR + 1)])).kind == ErrorKind.LIMIT
    assert refusal(child(builder, [(b"W2ru", 1 << 40, 10)])).kind == ErrorKind.TRUNCATED
    assert refusal(child(builder, [(b"MacX", (1 << 64) - 1, 0xFFFF)])).kind == ErrorKind.TRUNCATED
    ignored = child(builder, [(b"MacX", 2048, 8), (b"none", 1 << 60, 0xFFFFFFFF)], name="own")
    assert hooks.instar_info(Image([bytes_source(ignored)])).references[0].name == b"x"


def test_names_that_are_no_text_are_text_all_the_same(builder):
    for stored in (b"\x00\xd8\x00\xd8", b"\xff\xff\xff", b"a\0b", b"\x1b\0[\0"):
        data = builder.dynamic(1 << 20, {}, kind=4, names=((b"W2ru", stored),), header_fields={"name": "own"})
        (reference,) = hooks.instar_info(Image([bytes_source(data)])).references
        assert reference.name.decode()
        assert b"\0" not in reference.name


def test_no_image_names_a_file_unless_it_is_a_differencing_disk(builder):
    data = builder.dynamic(1 << 20, {}, names=((b"MacX", b"file:///etc/passwd"),), header_fields={"name": "/etc/x"})
    assert hooks.instar_info(Image([bytes_source(data)])).references == ()
