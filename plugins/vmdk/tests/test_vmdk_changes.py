"""Images that are changed in place: content, size, descriptor."""

from __future__ import annotations

import os
import struct

import pytest
from instar_vmdk.grainputs import Entries
from instar_vmdk.sparse import open_hosted
from instar_vmdk.textchange import sized, stands_on
from instar_vmdk.textputs import Text, text_edits

from instar_core import disk as disks
from instar_core.changing import Changing
from instar_core.errors import FormatError, InstarError
from instar_core.operations.check import check
from instar_core.operations.resize import resize
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.source import bytes_source
from instar_core.types import Barrier, Empty, Put

MIB, GIB = 1 << 20, 1 << 30
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)


def read(path, start, length):
    with disks.open(str(path), format="vmdk", settings=INLINE) as disk:
        return disk.pread(length, start)


def write(path, start, data):
    own = path.with_name("piece")
    own.write_bytes(data)
    descriptor = os.open(own, os.O_RDONLY)
    with Changing(str(path), INLINE, format="vmdk") as image:
        image.update(lambda unit: iter([Piece(start, len(data), False, descriptor, 0)]))
    os.close(descriptor)


def sound(path):
    return not check(str(path), format="vmdk", settings=INLINE).findings


def made(programs, tmp_path, size, **options):
    path = tmp_path / "disk.vmdk"
    chosen = ",".join(f"{key}={value}" for key, value in options.items())
    programs.img("create", "-q", "-f", "vmdk", "-o", chosen, path, size)
    return path


@pytest.mark.oracle
@pytest.mark.parametrize("zeroed", ["on", "off"])
def test_a_sparse_disk_grows_past_its_directory_and_shrinks_again(programs, tmp_path, zeroed):
    path = made(programs, tmp_path, "5M", subformat="monolithicSparse", zeroed_grain=zeroed)
    programs.run(programs.qemu("qemu-io"), "-f", "vmdk", "-c", "write -P 7 1M 2M", path)
    resize(str(path), 40 * GIB, format="vmdk", settings=INLINE)
    assert sound(path)
    write(path, 39 * GIB, b"y" * 65536)
    programs.run(
        programs.qemu("qemu-io"), "-f", "vmdk", "-c", "read -P 7 1M 2M", "-c", "read -P 121 39G 64k",
        "-c", "read -P 0 5M 1M", "-c", "write -P 3 20G 64k", path,
    )  # fmt: skip
    assert read(path, 20 * GIB, 65536) == b"\3" * 65536
    assert b"RW 83886080 SPARSE" in path.read_bytes()[512:20480]
    assert b'cylinders = "83220"' in path.read_bytes()[512:20480]
    resize(str(path), 2 * MIB, shrink=True, format="vmdk", settings=INLINE)
    assert read(path, 0, 2 * MIB) == bytes(MIB) + b"\7" * MIB == programs.content(path)
    assert sound(path)


@pytest.mark.oracle
def test_a_grain_table_that_is_missing_is_made(programs, tmp_path):
    path = made(programs, tmp_path, "80M", subformat="monolithicSparse")
    data = bytearray(path.read_bytes())
    rgd, gd = struct.unpack_from("<QQ", data, 48)
    for directory in (rgd, gd):
        struct.pack_into("<2I", data, directory * 512, 0, 0)
    path.write_bytes(data)
    write(path, 40 * MIB, b"y" * 65536)
    assert read(path, 40 * MIB, 65536) == b"y" * 65536
    programs.run(programs.qemu("qemu-io"), "-f", "vmdk", "-c", "read -P 121 40M 64k", path)
    assert [text.text for text in check(str(path), format="vmdk", settings=INLINE).findings] == []


@pytest.mark.oracle
def test_a_flat_disk_is_as_long_as_its_file(programs, tmp_path):
    path = made(programs, tmp_path, "5M", subformat="monolithicFlat")
    for size in (9 * MIB, 3 * MIB):
        resize(str(path), size, shrink=True, format="vmdk", settings=INLINE)
        assert (tmp_path / "disk-flat.vmdk").stat().st_size == size
        assert programs.answer("info", path)["virtual-size"] == size
        assert sound(path)


@pytest.mark.oracle
def test_an_image_of_several_files_keeps_their_number(programs, tmp_path):
    path = made(programs, tmp_path, "3G", subformat="twoGbMaxExtentSparse")
    resize(str(path), 4 * GIB, format="vmdk", settings=INLINE)
    assert programs.answer("info", path)["virtual-size"] == 4 * GIB
    for size in (4 * GIB + 512, 2 * GIB):
        with pytest.raises(InstarError, match="one more or one less"):
            resize(str(path), size, shrink=True, format="vmdk", settings=INLINE)
    write(path, 4 * GIB - 65536, b"y" * 65536)
    programs.run(programs.qemu("qemu-io"), "-f", "vmdk", "-c", f"read -P 121 {4 * GIB - 65536} 64k", path)


@pytest.mark.oracle
def test_a_stream_optimized_image_is_not_changed(programs, tmp_path):
    path = made(programs, tmp_path, "3M", subformat="streamOptimized")
    before = path.read_bytes()
    with pytest.raises(InstarError, match="compressed extent cannot be changed"):
        resize(str(path), 4 * MIB, format="vmdk", settings=INLINE)
    with pytest.raises(InstarError, match="compressed extent cannot be changed"):
        write(path, 0, b"y" * 65536)
    assert path.read_bytes() == before


TEXT = b"""# Disk DescriptorFile
CID=0abcdef1
parentCID=1abcdef2
createType="twoGbMaxExtentSparse"
parentFileNameHint="base.vmdk"

# Extent description
RW 4096 SPARSE "x-s001.vmdk"

ddb.geometry.cylinders = "4"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
"""


def test_a_shorter_name_of_the_parent_moves_nothing():
    new = stands_on(TEXT, b"b", 0x12)
    assert len(new) == len(TEXT)
    assert b'parentFileNameHint="b" ' in new
    assert b"parentCID=00000012\n" in new
    assert stands_on(TEXT, b"", None).count(b"parentFileNameHint") == 0
    with pytest.raises(FormatError, match="cannot name"):
        stands_on(TEXT, b'a"b', 1)


def test_an_extent_has_its_line_and_a_disk_its_cylinders():
    new = sized(TEXT, 0, 1008 * 50, 1008 * 50)
    assert b'RW 50400 SPARSE "x-s001.vmdk"' in new
    assert b'cylinders = "50"' in new


def test_a_text_that_would_change_in_two_sectors_that_count_is_refused():
    text = TEXT.replace(b"\n# Extent", b"#" * 600 + b"\n# Extent")
    with pytest.raises(FormatError, match="more than one sector"):
        list(text_edits(bytes_source(text), Text(text, 0, 0), stands_on(text, b"a-longer-name.vmdk", 1)))


def test_what_nothing_depends_on_is_written_first():
    text = TEXT.replace(b"ddb.geometry.cyl", b"# " + b"x" * 500 + b"\nddb.geometry.cyl")
    new = sized(text, 0, 10_000_000, 10_000_000)
    puts = [edit for edit in text_edits(bytes_source(text), Text(text, 0, 0), new) if isinstance(edit, Put)]
    assert [edit.offset for edit in puts] == [512, 0]
    assert len(puts[1].data) == 512


@pytest.mark.oracle
def test_an_image_grows_over_a_parent_that_is_no_larger(programs, tmp_path):
    for number, (above, refused) in enumerate(((4, False), (5, False), (2, True))):
        base, path = tmp_path / f"base{number}.vmdk", tmp_path / f"disk{number}.vmdk"
        programs.img("create", "-q", "-f", "vmdk", base, "4M")
        programs.io(base, "write -P 7 0 4M")
        programs.img("create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", path, f"{above}M")
        if refused:
            with pytest.raises(InstarError, match="the parent may hold content"):
                resize(str(path), 9 * MIB, format="vmdk", settings=INLINE)
            assert read(path, 0, 2 * MIB) == b"\7" * 2 * MIB
            continue
        resize(str(path), 9 * MIB, format="vmdk", settings=INLINE)
        assert read(path, 0, 9 * MIB) == b"\7" * 4 * MIB + bytes(5 * MIB) == programs.content(path)
        write(path, 8 * MIB, b"y" * MIB)
        assert read(path, 8 * MIB, MIB) == b"y" * MIB
        assert sound(path)


@pytest.mark.oracle
def test_tables_are_safe_before_their_redundant_copies(programs, tmp_path):
    path = made(programs, tmp_path, "80M", subformat="monolithicSparse")
    data = bytearray(path.read_bytes())
    rgd, gd = (place * 512 for place in struct.unpack_from("<QQ", data, 48))
    struct.pack_into("<I", data, gd + 4, 0)
    struct.pack_into("<I", data, rgd + 4, 0)
    source = bytes_source(bytes(data))
    entries = Entries(source, open_hosted(source), 0, len(data))
    (first,) = struct.unpack_from("<I", data, gd)
    (spare,) = struct.unpack_from("<I", data, rgd)
    list(entries.record(1, 1, 1000, 128))
    list(entries.record(513, 1, 2000, 128))
    phases, phase = {}, 0
    for edit in entries.flush():
        phase += isinstance(edit, Barrier)
        if isinstance(edit, Put):
            phases.setdefault(edit.offset, phase)
    assert phases[first * 512 + 4] < phases[gd + 4] == phases[spare * 512 + 4] < phases[rgd + 4]
    fresh = [place for place in phases if place >= len(data)]
    assert len(fresh) == 4
    assert {phases[place] for place in fresh} == {1}


@pytest.mark.oracle
def test_a_descriptor_behind_the_grains_outlives_a_shrink_and_an_emptying(programs, tmp_path):
    path = made(programs, tmp_path, "5M", subformat="monolithicSparse")
    programs.run(programs.qemu("qemu-io"), "-f", "vmdk", "-c", "write -P 7 1M 2M", path)
    data = bytearray(path.read_bytes())
    place, room = struct.unpack_from("<QQ", data, 28)
    struct.pack_into("<Q", data, 28, len(data) // 512)  # as a change leaves it that was cut short
    text = data[place * 512 : (place + room) * 512]
    path.write_bytes(data + text)
    resize(str(path), 2 * MIB, shrink=True, format="vmdk", settings=INLINE)
    assert read(path, 0, 2 * MIB) == bytes(MIB) + b"\7" * MIB == programs.content(path)
    with Changing(str(path), INLINE, format="vmdk") as image:
        image.apply(Empty())
    assert read(path, 0, 2 * MIB) == bytes(2 * MIB) == programs.content(path)
    data = path.read_bytes()
    (place,) = struct.unpack_from("<Q", data, 28)
    assert place * 512 >= len(text)
    assert b"RW 4096 SPARSE" in data[place * 512 :]
