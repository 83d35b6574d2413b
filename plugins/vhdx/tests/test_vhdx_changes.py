"""Images that are changed in place: content and size."""

from __future__ import annotations

import contextlib
import os

import pytest
from instar_vhdx import hooks

from instar_core import disk as disks
from instar_core.changing import Changing
from instar_core.cli.main import main
from instar_core.errors import FormatError, InstarError
from instar_core.operations.check import check
from instar_core.operations.resize import resize
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.types import Rebase, Resize

MIB, GIB = 1 << 20, 1 << 30
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)


def read(path, start, length):
    with disks.open(str(path), format="vhdx", settings=INLINE) as disk:
        return disk.pread(length, start)


def write(path, start, data, **how):
    own = path.with_name("piece")
    own.write_bytes(data)
    descriptor = os.open(own, os.O_RDONLY)
    with Changing(str(path), INLINE, format="vhdx") as image:
        image.update(lambda unit: iter([Piece(start, len(data), False, descriptor, 0)]), **how)
    os.close(descriptor)


def sound(path):
    return not check(str(path), format="vhdx", settings=INLINE).findings


@pytest.mark.oracle
def test_an_image_grows_past_its_table_and_shrinks_again(programs, tmp_path):
    path = tmp_path / "disk.vhdx"
    programs.img("create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, "5M")
    programs.io(path, "write -P 7 1M 2M")
    resize(str(path), 300 * GIB, format="vhdx", settings=INLINE)
    assert sound(path)
    programs.img("check", "-f", "vhdx", path)
    write(path, 299 * GIB, b"y" * 4096)
    programs.io(path, "read -P 7 1M 2M", "read -P 121 299G 4k", "read -P 0 5M 3M", "write -P 3 200G 64k")
    assert read(path, 200 * GIB, 65536) == b"\3" * 65536
    resize(str(path), 2 * MIB, shrink=True, format="vhdx", settings=INLINE)
    assert read(path, 0, 2 * MIB) == bytes(MIB) + b"\7" * MIB == programs.content(path)
    assert sound(path)
    programs.img("check", "-f", "vhdx", path)


def test_a_fixed_image_gets_all_its_new_blocks(host, tmp_path):
    path = tmp_path / "disk.vhdx"
    host.create(path, 2 * MIB, b"x" * 512, subformat="fixed", block_size=MIB)
    resize(str(path), 5 * MIB, preallocation="falloc", format="vhdx", settings=INLINE)
    with host.Opened(path) as opened:
        assert all(extent.kind == 0 for extent in opened.extents())
        assert opened.content() == (b"x" * 512).ljust(5 * MIB, b"\0")
    assert sound(path)


def test_what_a_block_holds_behind_the_end_of_the_disk_is_gone_when_the_disk_grows(host, tmp_path):
    path = tmp_path / "disk.vhdx"
    host.create(path, 2 * MIB, b"x" * 2 * MIB, block_size=2 * MIB)
    for size in (MIB, 3 * MIB):
        resize(str(path), size, shrink=True, format="vhdx", settings=INLINE)
    assert read(path, 0, 3 * MIB) == (b"x" * MIB).ljust(3 * MIB, b"\0")


def test_other_content_has_another_identifier_unless_children_are_to_stay(host, tmp_path):
    path = tmp_path / "disk.vhdx"
    host.create(path, 2 * MIB, block_size=MIB)

    def identity():
        with host.Opened(path) as opened:
            return opened.info.extra["identity"]

    first = identity()
    write(path, 0, b"x" * 512, keep=True)
    assert identity() == first
    write(path, 0, b"y" * 512)
    assert identity() != first


def test_a_differencing_image_grows_only_where_its_parent_is_no_larger(host, tmp_path):
    path = tmp_path / "disk.vhdx"
    told = {"name": b"base.vhdx", "format": "vhdx", "identity": "01234567-0123-4123-8123-0123456789ab"}
    host.create(path, 3 * MIB, backing=told, block_size=MIB)
    with host.Opened(path) as opened:
        for below in (None, 4 * MIB):
            with pytest.raises(FormatError, match="the parent may hold content"):
                list(hooks.instar_write(opened.image(), Resize(5 * MIB, below=below), iter(())))
        assert list(hooks.instar_write(opened.image(), Resize(5 * MIB, below=3 * MIB), iter(())))


def test_a_log_that_is_in_use_is_replayed_before_anything_changes(builder, host, tmp_path):
    old, new = builder.dirty()
    path, clean = tmp_path / "dirty.vhdx", tmp_path / "clean.vhdx"
    clean.write_bytes(new)
    with host.Opened(clean) as opened:
        wanted = bytearray(opened.content())
    path.write_bytes(old)
    write(path, 4096, b"w" * 4096)
    wanted[4096:8192] = b"w" * 4096
    assert read(path, 0, len(wanted)) == bytes(wanted)
    resize(str(path), len(wanted) + 3 * MIB, format="vhdx", settings=INLINE)
    with host.Opened(path) as opened:
        assert opened.info.dirty is False
        assert opened.content() == bytes(wanted) + bytes(3 * MIB)
    assert sound(path)


def test_blocks_that_are_partly_there_are_whole_when_the_parent_goes(builder, host, tmp_path):
    image = builder.child(3 * MIB)
    image.partial(1, {3: b"a" * 512, 9: b"b" * 512})
    path = tmp_path / "child.vhdx"
    path.write_bytes(image.build())
    with Changing(str(path), INLINE, format="vhdx") as changing:
        changing.apply(Rebase(None, 0, os.urandom(64)))
    wanted = bytearray(3 * MIB)
    wanted[MIB + 3 * 512 : MIB + 4 * 512], wanted[MIB + 9 * 512 : MIB + 10 * 512] = b"a" * 512, b"b" * 512
    with host.Opened(path) as opened:
        assert not opened.info.references
        assert opened.content() == bytes(wanted)
    assert sound(path)


@pytest.mark.oracle
def test_an_image_grows_over_a_parent_that_is_no_larger(programs, tmp_path):
    for number, (above, refused) in enumerate(((4, False), (8, False), (2, True))):
        base, path = tmp_path / f"base{number}.vhdx", tmp_path / f"disk{number}.vhdx"
        programs.img("create", "-q", "-f", "vhdx", "-o", "block_size=1M", base, "4M")
        programs.io(base, "write -P 7 0 4M")
        with contextlib.chdir(tmp_path):
            words = ["create", "--image-policy", "qemu", "-q", "-f", "vhdx", "-o", "block_size=1M", "-b", base.name]
            assert not main(["instar", *words, "-F", "vhdx", path.name, f"{above}M"])
        if refused:
            with pytest.raises(InstarError, match="the parent may hold content"):
                resize(str(path), 9 * MIB, format="vhdx", settings=INLINE)
            assert read(path, 0, 2 * MIB) == b"\7" * 2 * MIB
            continue
        resize(str(path), 9 * MIB, format="vhdx", settings=INLINE)
        assert read(path, 0, 9 * MIB) == b"\7" * 4 * MIB + bytes(5 * MIB)
        write(path, 8 * MIB, b"y" * MIB)
        assert read(path, 0, 9 * MIB) == b"\7" * 4 * MIB + bytes(4 * MIB) + b"y" * MIB
        assert sound(path)
