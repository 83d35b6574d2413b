"""Images that qemu-img and qemu-io made, read here and there."""

from __future__ import annotations

import os
import random

import pytest

from instar_core.types import Flag, Kind, Role

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
SIZE = 3 * (1 << 20) + 512 * 77
pytestmark = pytest.mark.oracle


def scattered(seed, size=SIZE):
    """Content with noise, patterns, zeros and unaligned ends."""
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(6):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([1, 511, 4096, 65536, 200000, 1 << 20]))
        made[at : at + length] = choose.randbytes(length) if choose.random() < 0.6 else b"\x5a" * length
    return bytes(made)


@pytest.mark.parametrize("subformat", SUBFORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_what_qemu_img_converted_reads_as_for_qemu(subformat, seed, tmp_path, programs, agree):
    (tmp_path / "in.raw").write_bytes(scattered(seed))
    path = tmp_path / "disk.vmdk"
    programs.img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", tmp_path / "in.raw", path)
    assert agree(path) == scattered(seed)


@pytest.mark.parametrize("option", ("zeroed_grain=on", "compat6=on", "subformat=twoGbMaxExtentSparse,zeroed_grain=on"))
def test_what_qemu_io_wrote_reads_as_for_qemu(option, tmp_path, programs, agree):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", option, path, SIZE)
    programs.io(
        path, "write -P 1 64k 192k", "write -P 2 1M 1000b", "write -z 64k 64k", "write -z 2M 128k", "write -P 3 0 1b"
    )
    agree(path)


def test_grains_in_disorder_map_one_by_one(tmp_path, programs, agree):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", path, "80M")
    order = list(range(0, 80 * 16, 13))
    random.Random(5).shuffle(order)
    programs.io(path, *(f"write -P {grain % 251} {grain * 64}k 64k" for grain in order[:80]))
    agree(path)


def test_windows_agree_with_the_whole(tmp_path, programs, host):
    path = tmp_path / "disk.vmdk"
    (tmp_path / "in.raw").write_bytes(scattered(9))
    choose = random.Random(9)
    for subformat in SUBFORMATS:
        programs.img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", tmp_path / "in.raw", path)
        with host.Opened(path) as opened:
            for _ in range(20):
                start = choose.randrange(SIZE)
                length = choose.randrange(1, SIZE - start + 1)
                assert opened.content(start, length) == scattered(9)[start : start + length]
            assert opened.extents(0, 0) == []


def test_a_disk_of_several_files_is_mapped_over_all_of_them(tmp_path, programs, host):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", path, "4097M")
    programs.io(path, "write -P 7 2097120k 64k", "write -P 8 4096M 1M")
    with host.Opened(path) as opened:
        assert opened.ranges() == programs.answer("map", path)
        assert {extent.device for extent in opened.extents() if extent.kind == Kind.DATA} == {1, 2, 3}


def test_flat_extents_ask_for_their_holes(tmp_path, programs, host):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", path, "1M")
    with host.Opened(path) as opened:
        (extent,) = opened.extents()
    assert extent.kind == Kind.DATA
    assert (extent.device, extent.offset, extent.flags) == (1, 0, Flag.REFINE)


def test_the_parent_is_a_reference_with_the_cid_that_it_must_have(tmp_path, programs, host):
    programs.img("create", "-q", "-f", "vmdk", tmp_path / "base.vmdk", "1M")
    programs.io(tmp_path / "base.vmdk", "write -P 9 0 1M")
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", path)
    programs.io(path, "write -P 1 128k 64k")
    with host.Opened(tmp_path / "base.vmdk") as base, host.Opened(path) as opened:
        (reference,) = opened.info.references
        assert (reference.role, reference.name, reference.format) == (Role.BACKING, b"base.vmdk", "vmdk")
        assert reference.details["cid"] == base.info.details["cid"] == opened.info.details["parent-cid"]
        assert opened.content(parent=base.content()) == programs.content(path)


def test_with_the_descriptor_alone_the_size_and_the_files_are_known(tmp_path, programs, host):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", path, "4097M")
    with host.Opened(path) as opened:
        assert opened.first.virtual_size == 4097 << 20
        assert [reference.name for reference in opened.first.references] == [
            b"disk-s001.vmdk",
            b"disk-s002.vmdk",
            b"disk-s003.vmdk",
        ]
        assert opened.first.references[2].details == {"offset": 0, "sectors": 2048, "type": "SPARSE", "access": "RW"}
        assert opened.info.virtual_size == opened.first.virtual_size


def test_incompressible_grains_are_read(tmp_path, programs, agree):
    noise = os.urandom(SIZE)
    (tmp_path / "in.raw").write_bytes(noise)
    path = tmp_path / "disk.vmdk"
    programs.img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", tmp_path / "in.raw", path)
    assert agree(path) == noise
