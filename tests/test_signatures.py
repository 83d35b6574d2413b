"""What a file shows: signatures at their places, and evidence of a raw disk made by other people's programs."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess

import pytest

from instar_core import limits
from instar_core.signatures import KNOWN, candidates, evidence_of_raw

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
MIB = 1 << 20


def sides(data: bytes) -> tuple[bytes, bytes, int]:
    return data[: limits.PROBE_HEAD], data[-limits.PROBE_TAIL :], len(data)


def placed(*pieces: tuple[int, bytes], size: int = 2 * MIB) -> bytes:
    data = bytearray(b"\x01" * size)
    for offset, piece in pieces:
        start = offset if offset >= 0 else size + offset
        data[start : start + len(piece)] = piece
    return bytes(data)


def of_file(path: object) -> tuple[bytes, bytes, int]:
    size = os.path.getsize(path)  # type: ignore[arg-type]
    with open(path, "rb") as file:  # type: ignore[call-overload]
        head = file.read(limits.PROBE_HEAD)
        file.seek(max(0, size - limits.PROBE_TAIL))
        return head, file.read(), size


EACH = [(known.format, sign) for known in KNOWN for sign in known.signatures]


@pytest.mark.parametrize(("name", "sign"), EACH, ids=[f"{name}@{sign.offset}" for name, sign in EACH])
def test_a_signature_at_its_place_names_its_format_alone(name, sign):
    assert candidates(*sides(placed((sign.offset, sign.magic)))) == [name]


@pytest.mark.parametrize(("name", "sign"), EACH, ids=[f"{name}@{sign.offset}" for name, sign in EACH])
def test_a_signature_elsewhere_or_cut_short_names_nothing(name, sign):
    offset = sign.offset + 16 if sign.offset >= 0 else sign.offset - 16
    assert candidates(*sides(placed((offset, sign.magic)))) == []
    assert candidates(*sides(placed((sign.offset, sign.magic[:-1] + b"\x7e")))) in ([], ["qcow2"])
    assert candidates(*sides(sign.magic[:-1])) in ([], ["qcow2"])


def test_names_are_unique_and_every_signature_reaches_into_what_a_probe_sees():
    names = [known.format for known in KNOWN]
    assert len(set(names)) == len(names)
    for _, sign in EACH:
        reach = sign.offset + len(sign.magic)
        assert reach <= limits.PROBE_HEAD if sign.offset >= 0 else sign.offset >= -limits.PROBE_TAIL and reach <= 0


def test_the_version_tells_qcow_from_qcow2():
    assert candidates(*sides(placed((0, b"QFI\xfb\0\0\0\1")))) == ["qcow"]
    for version in (2, 3, 4, 1 << 24):
        assert candidates(*sides(placed((0, b"QFI\xfb" + struct.pack(">I", version))))) == ["qcow2"]


def test_two_formats_in_one_file_are_both_named():
    assert candidates(*sides(placed((0, b"QFI\xfb\0\0\0\3"), (-512, b"conectix")))) == ["qcow2", "vpc"]
    assert candidates(*sides(placed((0, b"version=1\n"), (32769, b"CD001")))) == ["iso", "vmdk"]


def test_small_files_name_nothing_and_raise_nothing():
    for size in range(1, 600):
        assert candidates(bytes(size), bytes(size), size) == []
        assert evidence_of_raw(b"x" * size, b"x" * size, size) is None


def test_random_bytes_raise_nothing_and_show_nothing():
    dice = random.Random(5)
    for _ in range(300):
        data = dice.randbytes(dice.randrange(80_000))
        assert candidates(*sides(data)) == []
        assert evidence_of_raw(*sides(data)) is None


TEXTS = [
    (b"# Disk DescriptorFile\nversion=1\n", True),
    (b"# disk\nversion=1\n", True),
    (b"  \nversion=1\n", True),
    (b"\nversion=1\n", False),
    (b"version=1\n", True),
    (b"version=2\r\n", True),
    (b"version=4\n", False),
    (b" \r\nversion=3\n", True),
    (b"# x\nVersion=1\n", False),
    (b"version=1 \n", False),
    (b"#\r\nversion=1\r\n", True),
    (b"\tversion=1\n", False),
    (b"#", False),
    (b"root:x:0:0:root:/root:/bin/bash\n", False),
]


@pytest.mark.parametrize(("text", "vmdk"), TEXTS)
def test_a_text_is_a_vmdk_descriptor_where_qemu_takes_it_for_one(text, vmdk, tmp_path):
    data = text + bytes(1536 - len(text))
    assert candidates(*sides(data)) == (["vmdk"] if vmdk else [])
    if QEMU_IMG:
        path = tmp_path / "t"
        path.write_bytes(data)
        done = subprocess.run([QEMU_IMG, "info", str(path)], capture_output=True, text=True, check=False)
        assert ("file format: raw" not in done.stdout) == vmdk


def test_a_descriptor_that_names_itself_is_vmdk_whatever_follows():
    for first in (b"# Disk DescriptorFile", b"# Disk Descriptorfile", b"# DISK DESCRIPTORFILE"):
        assert candidates(*sides(first + b"\nCID=1\nversion=1\n")) == ["vmdk"]


MADE = {
    "qcow2": "qcow2", "qcow": "qcow", "qed": "qed", "vmdk": "vmdk", "vhdx": "vhdx", "vpc": "vpc", "vdi": "vdi",
    "parallels": "parallels",
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("format", MADE)
def test_images_made_by_qemu_are_named(format, tmp_path):
    if not QEMU_IMG:
        pytest.skip("qemu-img is not installed")
    path = tmp_path / "image"
    for options in ([], ["-o", "subformat=fixed"] if format == "vpc" else []):
        done = subprocess.run(
            [QEMU_IMG, "create", "-q", "-f", format, *options, str(path), "4M"], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip(f"this qemu-img makes no {format}")
        assert candidates(*of_file(path)) == [format]
        path.unlink()


SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q"], "ext2/3/4"),
    "ext2": (["mkfs.ext2", "-q"], "ext2/3/4"),
    "xfs": (["mkfs.xfs", "-q"], "XFS"),
    "btrfs": (["mkfs.btrfs", "-q"], "btrfs"),
    "fat16": (["mkfs.vfat", "-F16"], "FAT"),
    "fat32": (["mkfs.vfat", "-F32"], "FAT"),
    "ntfs": (["mkfs.ntfs", "-q", "-F"], "NTFS"),
    "f2fs": (["mkfs.f2fs", "-q"], "F2FS"),
    "swap": (["mkswap", "-q"], "swap"),
    "swap64k": (["mkswap", "-q", "-p", "65536"], "swap"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", SYSTEMS)
def test_file_systems_made_by_their_own_programs_are_evidence(name, tmp_path):
    (program, *arguments), evidence = SYSTEMS[name]
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.truncate(320 * MIB)
    subprocess.run([found, *arguments, str(path)], check=True, capture_output=True)
    view = of_file(path)
    assert candidates(*view) == []
    assert evidence_of_raw(*view) == evidence


@pytest.mark.oracle
def test_an_iso_made_by_genisoimage_is_iso(tmp_path):
    program = shutil.which("genisoimage") or shutil.which("xorrisofs") or shutil.which("mkisofs")
    if program is None:
        pytest.skip("no program that makes ISO images is installed")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    image = tmp_path / "x.iso"
    subprocess.run([program, "-quiet", "-o", str(image), str(tmp_path / "in")], check=True, capture_output=True)
    assert candidates(*of_file(image)) == ["iso"]


def partitions(*entries: tuple[int, int, int, int]) -> bytes:
    made = b"".join(struct.pack("<B3sB3sII", a, b"", kind, b"", start, count) for a, kind, start, count in entries)
    return made.ljust(64, b"\0") + b"\x55\xaa"


MASTER_BOOT_RECORDS = [
    (partitions((0x80, 0x83, 2048, 4096)), True),
    (partitions((0, 0x83, 2048, 4096), (0, 0x82, 8192, 99)), True),
    (partitions(), True),
    (partitions((0x81, 0x83, 2048, 4096)), False),
    (partitions((0, 0x83, 0, 4096)), False),
    (partitions((0, 0x83, 2048, 0)), False),
    (partitions((0, 0, 2048, 4096)), False),
    (partitions((0, 0x83, 2048, 4096))[:-2] + b"\x55\xab", False),
    (b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/us\x55\xaa"[-66:], False),
]


@pytest.mark.parametrize(("table", "sane"), MASTER_BOOT_RECORDS)
def test_a_partition_table_counts_where_every_entry_is_sane(table, sane):
    assert evidence_of_raw(*sides(placed((446, table)))) == ("MBR" if sane else None)


def gpt(own: int, revision: int = 0x10000, length: int = 92) -> bytes:
    return struct.pack("<8sIIIIQ", b"EFI PART", revision, length, 0, 0, own)


def test_a_guid_partition_table_counts_at_either_end():
    last = 2 * MIB // 512 - 1
    assert evidence_of_raw(*sides(placed((512, gpt(1))))) == "GPT"
    assert evidence_of_raw(*sides(placed((4096, gpt(1))))) == "GPT"
    assert evidence_of_raw(*sides(placed((-512, gpt(last))))) == "GPT"
    assert evidence_of_raw(*sides(placed((512, gpt(7))))) is None
    assert evidence_of_raw(*sides(placed((512, gpt(1, revision=0x20000))))) is None
    assert evidence_of_raw(*sides(placed((512, gpt(1, length=9))))) is None


def test_only_zeros_are_evidence_and_one_byte_is_too_much():
    assert evidence_of_raw(*sides(bytes(MIB))) == "zeros"
    assert evidence_of_raw(b"", b"", 0) == "zeros"
    assert evidence_of_raw(*sides(bytes(MIB - 1) + b"x")) is None
    assert evidence_of_raw(*sides(b"x" + bytes(MIB - 1))) is None


def test_texts_and_archives_are_no_evidence():
    for data in (b"root:x:0:0:root:/root:/bin/bash\n" * 100, b"\x1f\x8b\x08" + b"\7" * 4000, b"PK\3\4" + b"\7" * 4000):
        assert evidence_of_raw(*sides(data)) is None
