"""Where this plugin deliberately does not do as qemu-img does."""

from __future__ import annotations

import pytest

from instar_core.errors import FormatError
from instar_core.types import Kind

MIB = 1 << 20


@pytest.mark.oracle
def test_a_map_tells_where_blocks_lie(tmp_path, programs, host):
    """quirk("map-of-vhdx")"""
    path = tmp_path / "disk.vhdx"
    programs.img("create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, "4M")
    programs.io(path, "write -P 1 1M 1M")
    said = programs.answer("map", path)
    assert [(one["start"], one["length"], one["data"], "offset" in one) for one in said] == [(0, 4 * MIB, True, False)]
    with host.Opened(path) as opened:
        assert [(one.start, one.length, one.kind, one.offset) for one in opened.extents()] == [
            (0, MIB, Kind.ZERO, -1),
            (MIB, MIB, Kind.DATA, 8 * MIB),
            (2 * MIB, 2 * MIB, Kind.ZERO, -1),
        ]


@pytest.mark.oracle
def test_a_block_of_a_state_that_does_not_exist_cannot_be_read(tmp_path, builder, programs, host):
    """quirk("vhdx-no-such-state")"""
    image = builder.Image(MIB)
    image.put(0, 5)
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    assert programs.content(path) == bytes(MIB)
    with host.Opened(path) as opened, pytest.raises(FormatError, match="has state 5"):
        opened.content()


@pytest.mark.oracle
def test_qemu_img_finds_nothing_in_blocks_that_share_a_place(tmp_path, builder, programs, host):
    """quirk("vhdx-check-sees-more")"""
    image = builder.Image(2 * MIB)
    image.put(0, builder.FULL, b"one")
    file = bytearray(image.build())
    file[3 * MIB + 8 : 3 * MIB + 16] = file[3 * MIB : 3 * MIB + 8]
    path = tmp_path / "disk.vhdx"
    path.write_bytes(file)
    assert programs.img("check", path).stdout.startswith(b"No errors were found")
    with host.Opened(path) as opened:
        assert [found.text for found in opened.findings()[:-1]] == ["VHDX blocks overlap at 4194304"]


@pytest.mark.oracle
def test_a_fixed_image_has_all_its_blocks_in_order(tmp_path, programs, host):
    """quirk("vhdx-fixed")"""
    ours, theirs = tmp_path / "ours.vhdx", tmp_path / "theirs.vhdx"
    host.create(ours, 3 * MIB, subformat="fixed", block_size=MIB)
    programs.img("create", "-q", "-f", "vhdx", "-o", "subformat=fixed,block_size=1M", theirs, "3M")
    kinds = []
    for path in (ours, theirs):
        with host.Opened(path) as opened:
            kinds.append([(one.start, one.length, one.kind, one.offset) for one in opened.extents()])
    assert kinds == [[(0, 3 * MIB, Kind.DATA, 8 * MIB)], [(0, 3 * MIB, Kind.ZERO, -1)]]
    assert ours.stat().st_size == theirs.stat().st_size == 11 * MIB


@pytest.mark.oracle
def test_differencing_images_and_wide_sectors_open(tmp_path, builder, programs, host):
    """quirk("vhdx-reads-more")"""
    for image, virtual in ((builder.child(3 * MIB), 3 * MIB), (builder.Image(MIB, sector=4096), MIB)):
        path = tmp_path / "disk.vhdx"
        path.write_bytes(image.build())
        assert programs.img("info", "-f", "vhdx", path, check=False).returncode == 1
        with host.Opened(path) as opened:
            assert opened.info.virtual_size == virtual
