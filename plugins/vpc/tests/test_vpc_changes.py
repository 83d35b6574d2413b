"""Disks that are changed in place: content, size, and what a crash leaves."""

from __future__ import annotations

import os

import pytest
from instar_vpc import hooks

from instar_core import disk as disks
from instar_core.changing import Changing
from instar_core.errors import InstarError
from instar_core.operations.check import check
from instar_core.operations.repair import repair
from instar_core.operations.resize import resize
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.source import Image, bytes_source
from instar_core.types import Barrier, Empty, Kind, Put, Rebase, Resize, Run, Update

MIB = 1 << 20
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)


def content(path):
    with disks.open(str(path), format="vpc", settings=INLINE) as disk:
        return disk.pread(disk.size, 0)


def write(path, *pieces):
    """Pieces of (start, bytes or a number of zeros) are written into the image."""
    own = path.with_name("pieces")
    own.write_bytes(b"".join(data for _, data in pieces if not isinstance(data, int)))
    descriptor = os.open(own, os.O_RDONLY)
    at, made = 0, []
    for start, data in pieces:
        if isinstance(data, int):
            made.append(Piece(start, data, True))
        else:
            made.append(Piece(start, len(data), False, descriptor, at))
            at += len(data)
    with Changing(str(path), INLINE, format="vpc") as image:
        image.update(lambda unit: iter(made))
    os.close(descriptor)


def edits(data, request, *runs):
    return list(hooks.instar_write(Image([bytes_source(bytes(data))]), request, iter(runs)))


def sound(path):
    found = check(str(path), format="vpc", settings=INLINE)
    return not found.findings


def test_a_fixed_disk_that_grew_has_zeros_where_its_footer_was(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.fixed(b"x" * 8192))
    resize(str(path), 20000, format="vpc", settings=INLINE)
    assert content(path) == (b"x" * 8192).ljust(20480, b"\0")
    assert path.stat().st_size == 20992
    resize(str(path), 1024, shrink=True, format="vpc", settings=INLINE)
    assert content(path) == b"x" * 1024
    assert path.stat().st_size == 1536
    assert sound(path)


def test_a_fixed_disk_with_an_old_footer_of_511_bytes_can_be_resized(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.fixed(b"x" * 8192, old=True))
    for size in (16384, 4096):
        resize(str(path), size, shrink=True, format="vpc", settings=INLINE)
        assert content(path) == (b"x" * 8192)[:size].ljust(size, b"\0")
        assert sound(path)


def test_space_before_the_footer_of_a_fixed_disk_is_a_leak_that_can_go(builder, tmp_path):
    data = builder.fixed(b"x" * 8192)
    path = tmp_path / "disk.vhd"
    path.write_bytes(data[:8192] + bytes(4096) + data[8192:])
    assert check(str(path), format="vpc", settings=INLINE).leaks == 8
    repair(str(path), "leaks", format="vpc", settings=INLINE)
    assert path.read_bytes() == data


@pytest.mark.oracle
def test_a_dynamic_disk_grows_past_its_table_and_shrinks_again(programs, tmp_path):
    path = tmp_path / "disk.vhd"
    programs.img("create", "-q", "-f", "vpc", "-o", "force_size=on", path, "5M")
    programs.io(path, "write -P 7 1M 2M", "write -P 9 4608k 512k")
    before = content(path)
    resize(str(path), (5 << 30) + 512, format="vpc", settings=INLINE)
    assert sound(path)
    with disks.open(str(path), format="vpc", settings=INLINE) as disk:
        assert disk.size == (5 << 30) + 512
        assert disk.pread(8 * MIB, 0) == before.ljust(8 * MIB, b"\0")
    programs.io(path, "read -P 7 1M 2M", "read -P 9 4608k 512k", "read -P 0 5M 1M", "write -P 3 5000M 64k")
    write(path, (2 << 30, b"y" * 4096))
    programs.io(path, "read -P 121 2G 4k", "read -P 3 5000M 64k")
    resize(str(path), 3 * MIB, shrink=True, format="vpc", settings=INLINE)
    assert content(path) == before[: 3 * MIB] == programs.content(path)
    assert path.stat().st_size < 7 * MIB  # the table is where it moved to, behind the third block
    assert sound(path)


def test_what_a_block_holds_behind_the_end_of_the_disk_is_gone_when_the_disk_grows(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.dynamic(2 * MIB, {0: (b"x" * 2 * MIB, None)}))
    for size in (MIB, 3 * MIB):
        resize(str(path), size, shrink=True, format="vpc", settings=INLINE)
    assert content(path) == (b"x" * MIB).ljust(3 * MIB, b"\0")


def test_blocks_past_the_end_of_the_disk_do_not_come_back_when_it_grows(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.dynamic(3 * MIB, {0: (b"x", None), 4: (b"y", None)}, entries=6))
    resize(str(path), 12 * MIB, format="vpc", settings=INLINE)
    assert content(path) == b"x".ljust(12 * MIB, b"\0")


def test_zeros_need_no_block_unless_there_is_a_parent(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    data = builder.dynamic(6 * MIB, {1: (b"x", None)})
    path.write_bytes(data)
    write(path, (0, 6 * MIB))
    assert path.stat().st_size == len(data)
    assert content(path) == bytes(6 * MIB)
    assert sound(path)


def test_over_a_parent_only_what_was_written_hides_it(builder):
    child = builder.dynamic(4 * MIB, {1: (b"x", (3,))}, kind=4, names=((b"W2ru", b"x\0"),))
    made = edits(child, Update(), Run(2 * MIB + 4096, 8192), Run(3 * MIB, 4096, Kind.ZERO))
    bitmaps = [edit.data for edit in made if isinstance(edit, Put) and len(edit.data) == 512]
    marked = [number for number in range(4096) if bitmaps[0][number // 8] >> 7 - number % 8 & 1]
    assert marked == [3, *range(8, 24), *range(2048, 2056)]


def test_single_sectors_are_told_apart_over_a_parent(builder):
    child = builder.dynamic(4 * MIB, {1: (b"x", (3,))}, kind=4, names=((b"W2ru", b"x\0"),))
    made = edits(
        child, Update(), Run(2 * MIB + 5 * 512, 512), Run(2 * MIB + 15 * 512, 3 * 512), Run(4 * MIB - 512, 512)
    )
    bitmaps = [edit.data for edit in made if isinstance(edit, Put) and len(edit.data) == 512]
    marked = [number for number in range(4096) if bitmaps[0][number // 8] >> 7 - number % 8 & 1]
    assert marked == [3, 5, 15, 16, 17, 4095]


@pytest.mark.parametrize("size", [5 * MIB + 512, 4 * MIB, 1 << 32])
def test_a_differencing_disk_grows_and_shrinks_over_its_parent(builder, tmp_path, size):
    parent, path = tmp_path / "parent.vhd", tmp_path / "child.vhd"
    parent.write_bytes(builder.dynamic(4 * MIB, {0: (b"p" * 2 * MIB, None), 1: (b"q" * 2 * MIB, None)}))
    child = builder.dynamic(
        5 * MIB,
        {0: (b"c" * 2 * MIB, (1,)), 2: (b"d" * 2 * MIB, None)},
        kind=4,
        names=((b"W2ru", "parent.vhd".encode("utf-16-le")),),
    )
    path.write_bytes(child)
    before = content(path)
    assert before == b"p" * 512 + b"c" * 512 + b"p" * (2 * MIB - 1024) + b"q" * 2 * MIB + b"d" * MIB
    resize(str(path), size, shrink=True, format="vpc", settings=INLINE)
    with disks.open(str(path), format="vpc", settings=INLINE) as disk:
        assert disk.size == size
        assert disk.pread(8 * MIB, 0) == before[:size].ljust(min(size, 8 * MIB), b"\0")
    resize(str(parent), 9 * MIB, format="vpc", settings=INLINE)
    with disks.open(str(path), format="vpc", settings=INLINE) as disk:
        assert disk.pread(8 * MIB, 0) == before[:size].ljust(min(size, 8 * MIB), b"\0")
    assert sound(path)


@pytest.mark.parametrize("request_", [Update(), Resize(6 * MIB, below=0), Rebase({"name": b"y"}), Empty()])
def test_a_map_of_whole_blocks_that_would_be_wrong_is_disowned_first(builder, request_):
    data = builder.dynamic(4 * MIB, {}, kind=4, names=((b"W2ru", b"x\0"),), creator=b"tap\0", creator_version=0x10003)
    made = edits(data, request_, *([Run(0, 512)] if isinstance(request_, Update) else []))
    puts = [edit for edit in made if isinstance(edit, Put)]
    assert puts[0].offset == 0 and puts[0].data[:512] == builder.resealed(data, 32, bytes(4))[:512]
    footers = [edit.data for edit in puts if edit.data[:8] == b"conectix"]
    assert all(footer[28:36] == b"tap\0" + bytes(4) for footer in footers) and len(footers) >= 2
    oldest = builder.dynamic(4 * MIB, {}, creator=b"tap\0", creator_version=1)
    kept = [edit for edit in edits(oldest, Update(), Run(0, 512)) if isinstance(edit, Put) and edit.offset == 0]
    assert kept == []


def test_content_is_on_stable_storage_before_the_table_names_it(builder):
    data = builder.dynamic(6 * MIB, {})
    made = edits(data, Update(), Run(0, 512), Run(4 * MIB, 512))
    table = next(at for at, edit in enumerate(made) if isinstance(edit, Put) and edit.offset == 1536)
    copies = [at for at, edit in enumerate(made) if type(edit).__name__ == "Copy"]
    assert any(isinstance(edit, Barrier) for edit in made[copies[-1] : table])


def test_what_a_differencing_disk_cannot_have_is_refused(builder):
    child = builder.dynamic(4 * MIB, {}, kind=4, names=((b"W2ru", b"x\0"),))
    for below in (None, 6 * MIB):
        with pytest.raises(InstarError, match="the parent may hold content where the differencing disk would grow"):
            edits(child, Resize(8 * MIB, below=below))
    with pytest.raises(InstarError, match="must be a vpc image"):
        edits(child, Rebase({"name": b"x", "format": "raw"}))
    with pytest.raises(InstarError, match="can have another parent"):
        edits(builder.dynamic(4 * MIB, {}), Rebase({"name": b"x", "format": "vpc"}))
    with pytest.raises(InstarError, match="Unsupported preallocation mode: full"):
        edits(builder.dynamic(4 * MIB, {}), Resize(8 * MIB, "full"))
