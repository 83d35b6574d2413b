"""ESX kinds, made by hand from their descriptions: COWD, seSparse, VMFS; and descriptors that name several kinds."""

from __future__ import annotations

import os
import random
import struct

import pytest
from instar_vmdk import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, Span

ALLOCATED, ZERO, UNMAPPED = 3 << 60, 2 << 60, 1 << 60
TABLE = 1 << 60


def cowd(sectors, used, *, grain=1, order=None):
    """A COWD extent in which the grains `used` hold their own number, in the order of `order`."""
    count = -(-sectors // (grain * 4096))
    head = struct.pack("<4s7I", b"COWD", 1, 3, sectors, grain, 4, count, 0).ljust(2048, b"\0")
    tables = 4 + -(-count * 4 // 512)
    first = tables + 32 * count
    entries = [0] * (4096 * count)
    body = b""
    for grain_number in order or used:
        entries[grain_number] = first + len(body) // 512
        body += struct.pack("<I", grain_number + 1) * (128 * grain)
    directory = struct.pack(f"<{count}I", *range(tables, first, 32)).ljust((tables - 4) * 512, b"\0")
    return head + directory + struct.pack(f"<{len(entries)}I", *entries) + body


def allocated(number):
    """The table entry of the grain with this number in the file."""
    return ALLOCATED | (number & 0xFFF) << 48 | number >> 12


def sesparse(capacity, directory, entries, body, **changed):
    """A seSparse extent."""
    tables, count = 64, len(entries) // 4096
    fields = [0xCAFEBABE, 0x200000001, capacity, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 1, 3, 1, 8, 8, tables, 64 * count]
    fields += [0, 0, 0, 0, tables + 64 * count, 0]
    for index, value in changed.items():
        fields[int(index[1:])] = value
    head = struct.pack("<26Q", *fields).ljust(512, b"\0") + struct.pack("<4Q", 0xCAFECAFE, 0, 0, 0).ljust(512, b"\0")
    head = head.ljust(8 * 512, b"\0") + struct.pack(f"<{len(directory)}Q", *directory)
    return head.ljust(tables * 512, b"\0") + struct.pack(f"<{len(entries)}Q", *entries) + body


@pytest.mark.oracle
@pytest.mark.parametrize("grain", (1, 8))
def test_a_cowd_extent_reads_as_for_qemu(grain, tmp_path, descriptor, agree):
    used = sorted(random.Random(3).sample(range(600), 60)) + list(range(4000, 4200))
    shuffled = used[:30][::-1] + used[30:]
    (tmp_path / "disk-delta.vmdk").write_bytes(cowd(5000 * grain, used, grain=grain, order=shuffled))
    content = agree(descriptor("vmfsSparse", f'RW {5000 * grain} VMFSSPARSE "disk-delta.vmdk"'))
    for number in range(5000):
        want = number + 1 if number in used else 0
        assert struct.unpack_from("<I", content, number * grain * 512) == (want,)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "directory",
    ([TABLE, TABLE | 1, TABLE | 2], [TABLE | 2, 0, TABLE], [TABLE | 1, TABLE | 1, 0]),
    ids=("ascending", "disorder", "shared"),
)
def test_a_sesparse_extent_reads_as_for_qemu(directory, tmp_path, descriptor, agree):
    choose = random.Random(1)
    entries, body, number = [0] * 12288, [], 0
    for grain in [*range(100, 5000), *sorted(choose.sample(range(5000, 12288), 60))]:
        kind = choose.choice((ALLOCATED, ZERO, UNMAPPED)) if grain >= 5000 else ALLOCATED
        entries[grain] = kind
        if kind == ALLOCATED:
            entries[grain] = allocated(number)
            body.append(bytes([grain % 251, grain % 13]) * 2048)
            number += 1
    (tmp_path / "disk-sesparse.vmdk").write_bytes(sesparse(4096 * 8 * 3, directory, entries, b"".join(body)))
    agree(descriptor("seSparse", f'RW {4096 * 8 * 3} SESPARSE "disk-sesparse.vmdk"'))


@pytest.mark.oracle
def test_a_vmfs_flat_extent_reads_as_for_qemu(tmp_path, descriptor, agree):
    noise = os.urandom(1 << 20)
    (tmp_path / "disk-flat.vmdk").write_bytes(noise)
    assert agree(descriptor("vmfs", 'RW 2048 VMFS "disk-flat.vmdk"')) == noise


@pytest.mark.oracle
@pytest.mark.parametrize("blanks", (0, 1, 3))
def test_blank_lines_before_an_extent_repeat_it_as_for_qemu(blanks, tmp_path, descriptor, agree, host):
    noise = os.urandom(4096)
    (tmp_path / "disk-flat.vmdk").write_bytes(noise)
    path = descriptor("monolithicFlat", *[""] * blanks, 'RW 8 FLAT "disk-flat.vmdk" 0')
    assert agree(path) == noise * (blanks + 1)
    with host.Opened(path) as opened:
        assert len(opened.findings()) == 1 + bool(blanks)


def test_zero_extents_and_read_only_ones_have_their_place(tmp_path, descriptor, host):
    noise = os.urandom(1 << 20)
    (tmp_path / "a").write_bytes(noise)
    (tmp_path / "b").write_bytes(cowd(100, [7]))
    path = descriptor(
        "custom", "RW 16 ZERO", 'RDONLY 100 FLAT "a" 7', "NOACCESS 5 ZERO", 'RW 100 SPARSE "b"', 'RW 3 FLAT "a" 1'
    )
    with host.Opened(path) as opened:
        sector = 512
        want = bytes(16 * sector) + noise[7 * sector : 107 * sector] + bytes(5 * sector)
        want += bytes(7 * sector) + struct.pack("<I", 8) * 128 + bytes(92 * sector) + noise[sector : 4 * sector]
        assert opened.content() == want
        assert opened.info.virtual_size == len(want)
        assert [reference.name for reference in opened.info.references] == [b"a", b"b", b"a"]
        assert opened.info.dirty is None
        assert opened.info.blocked == ""


def test_an_extent_without_access_blocks_the_content(tmp_path, descriptor, host):
    (tmp_path / "a").write_bytes(bytes(4096))
    with host.Opened(descriptor("custom", 'RW 8 FLAT "a" 0', 'NOACCESS 8 FLAT "a" 0')) as opened:
        assert "NOACCESS" in opened.info.blocked
        assert opened.content(0, 4096) == bytes(4096)
        with pytest.raises(FormatError, match="NOACCESS"):
            opened.content()


def test_a_cowd_extent_alone_is_an_image():
    data = cowd(100, [3, 4])
    image = Image([bytes_source(data)])
    assert hooks.instar_info(image).virtual_size == 51200
    kinds = [(extent.length, extent.kind) for extent in hooks.instar_map(image, Layer(), Span(0, 51200))]
    assert kinds == [(1536, Kind.ABSENT), (1024, Kind.DATA), (95 * 512, Kind.ABSENT)]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"f0": 1}, "Bad const header magic: 0x1"),
        ({"f1": 0x200000002}, "Unsupported version: 0x200000002"),
        ({"f3": 16}, "Unsupported grain size: 16"),
        ({"f4": 32}, "Unsupported grain table size: 32"),
        ({"f5": 1}, "Unsupported flags: 0x1"),
        ({"f7": 9}, "Unsupported reserved bits: 0x0 0x9 0x0 0x0"),
        ({"f10": 5}, "Bad volatile header magic: 0x0"),
        ({"f17": 0}, "too small"),
        ({"f2": 1 << 62}, "too large"),
    ],
)
def test_a_sesparse_header_that_cannot_be_read_is_refused(changed, message, tmp_path, descriptor, host):
    (tmp_path / "s").write_bytes(sesparse(32768, [TABLE], [0] * 4096, b"", **changed))
    with pytest.raises(FormatError, match=message):
        host.Opened(descriptor("seSparse", 'RW 32768 SESPARSE "s"'))


@pytest.mark.parametrize("entry", (1, 4 << 60, 15 << 60))
def test_a_sesparse_entry_of_no_kind_is_an_error(entry, tmp_path, descriptor, host):
    (tmp_path / "s").write_bytes(sesparse(32768, [TABLE], [0, entry] + [0] * 4094, b""))
    with host.Opened(descriptor("seSparse", 'RW 32768 SESPARSE "s"')) as opened, pytest.raises(FormatError):
        opened.extents()
