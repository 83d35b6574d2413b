"""How a file shows what it is: signatures of every disk-image format known to exist, and evidence that a disk is raw.

The table is the core's own, so that an absent plugin never turns its images into raw disks. Everything here compares
bytes at fixed places and is cheap, total and free of imports: it runs before any plugin is chosen.
"""

from __future__ import annotations

from struct import Struct

from instar_core.types import Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


class Known(NamedTuple):
    """A format: its name, its title, the distribution that reads it (empty where none does) and its signatures."""

    format: str
    title: str
    distribution: str
    signatures: tuple[Signature, ...]


KNOWN = (
    Known("qcow2", "QEMU copy-on-write, versions 2 and 3", "instar-qcow2", (Signature(b"QFI\xfb"),)),
    Known("qcow", "QEMU copy-on-write, version 1", "instar-qcow", (Signature(b"QFI\xfb\0\0\0\1"),)),
    Known("qed", "QEMU enhanced disk", "instar-qed", (Signature(b"QED\0"),)),
    Known(
        "vmdk",
        "VMware virtual disk",
        "instar-vmdk",
        (Signature(b"KDMV"), Signature(b"COWD"), Signature(b"# Disk DescriptorFile")),
    ),
    Known("vhdx", "Hyper-V virtual hard disk, version 2", "instar-vhdx", (Signature(b"vhdxfile"),)),
    Known(
        "vpc",
        "Virtual PC and Hyper-V virtual hard disk (VHD)",
        "instar-vpc",
        (Signature(b"conectix"), Signature(b"conectix", -512), Signature(b"conectix", -511)),
    ),
    Known("vdi", "VirtualBox disk image", "instar-vdi", (Signature(b"\x7f\x10\xda\xbe", 0x40),)),
    Known("luks", "Linux unified key setup", "instar-luks", (Signature(b"LUKS\xba\xbe"),)),
    Known(
        "parallels",
        "Parallels and ploop disk (hdd, hds)",
        "instar-parallels",
        (Signature(b"WithoutFreeSpace"), Signature(b"WithouFreSpacExt")),
    ),
    Known(
        "dmg",
        "Apple disk image",
        "instar-dmg",
        (Signature(b"koly", -512), Signature(b"encrcdsa"), Signature(b"cdsaencr", -8)),
    ),
    Known("bochs", "Bochs growing disk", "instar-bochs", (Signature(b"Bochs Virtual HD Image"),)),
    Known("cloop", "compressed loop image", "instar-cloop", (Signature(b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),)),
    Known("iso", "ISO 9660 volume", "instar-iso", (Signature(b"CD001", 32769),)),
    Known("vma", "Proxmox backup archive", "", (Signature(b"VMA\0"),)),
    Known("asif", "Apple sparse image format", "", (Signature(b"shdw"),)),
    Known("sparseimage", "Apple sparse image (UDSP)", "", (Signature(b"sprs"),)),
    Known("uml-cow", "User-Mode Linux copy-on-write", "", (Signature(b"OOOM\0\0\0"), Signature(b"MOOO\0\0\0"))),
    Known("android-sparse", "Android sparse image", "", (Signature(b"\x3a\xff\x26\xed\1\0"),)),
    Known("composite", "crosvm composite disk", "", (Signature(b"composite_disk\x1d"),)),
    Known("ewf", "Expert Witness Format", "", (Signature(b"EVF\t\r\n\xff\0"), Signature(b"EVF2\r\n\x81\0"))),
    Known("aff", "Advanced Forensic Format", "", (Signature(b"AFF10\r\n\0"),)),
    Known("wim", "Windows imaging format", "", (Signature(b"MSWIM\0\0\0"),)),
    Known("partclone", "partclone image", "", (Signature(b"partclone-image"),)),
)
"""Every format known to exist. Of two signatures that stand at one place the longer counts: qcow is no qcow2."""

NAMES = frozenset([known.format for known in KNOWN]) | {"raw"}
"""Names of all of them, and raw, which has none."""

DESCRIPTOR = b"# disk descriptorfile"
DESCRIPTOR_SPAN = 4096
"""Bytes in which the version line of a VMDK text descriptor is looked for; qemu looks at 512."""


def candidates(head: bytes, tail: bytes, size: int) -> list[str]:
    """Names of the formats whose signature stands in a file of `size` bytes, in the order of the table.

    `head` and `tail` are its first and last bytes, as in ProbeView. Raises nothing, whatever they hold.
    """
    found = [
        (known.format, signature)
        for known in KNOWN
        for signature in known.signatures
        if stands(signature, head, tail, size)
    ]
    names: list[str] = []
    for name, mine in found:
        outdone = any(
            mine.offset == other.offset and len(other.magic) > len(mine.magic) and other.magic.startswith(mine.magic)
            for _, other in found
        )
        if not outdone and name not in names:
            names.append(name)
    if "vmdk" not in names and head[:1] in (b"#", b" ", b"v") and is_vmdk_descriptor(head):
        names.append("vmdk")
    return names


def stands(signature: Signature, head: bytes, tail: bytes, size: int) -> bool:
    """Whether the signature's bytes are at its place, which counts from the end of the file where it is negative."""
    magic, offset = signature
    if offset >= 0:
        return head.startswith(magic, offset)
    place = len(tail) + offset
    return place >= 0 and size + offset >= 0 and tail.startswith(magic, place)


def is_vmdk_descriptor(head: bytes) -> bool:
    """Whether the file begins as a VMDK text descriptor.

    It does where its first line names it, in any case of letters, and where qemu takes it for one: comment lines and
    lines of nothing but spaces, then a line that is version=1, 2 or 3. Either line end will do.
    """
    if head[: len(DESCRIPTOR)].lower() == DESCRIPTOR:
        return True
    at, end = 0, min(len(head), DESCRIPTOR_SPAN)
    while at < end:
        stop = head.find(b"\n", at, end)
        if stop < 0:
            return False
        line = head[at:stop]
        at = stop + 1
        if line.startswith(b"#"):
            continue
        if line.endswith(b"\r"):
            line = line[:-1]
        if line and not line.strip(b" "):
            continue
        return line in (b"version=1", b"version=2", b"version=3")
    return False


EVIDENCE = (
    ("NTFS", (Signature(b"NTFS    ", 3), Signature(b"\x55\xaa", 510))),
    ("exFAT", (Signature(b"EXFAT   ", 3), Signature(b"\x55\xaa", 510))),
    ("ReFS", (Signature(b"ReFS\0\0\0\0", 3),)),
    ("BitLocker", (Signature(b"-FVE-FS-", 3), Signature(b"\x55\xaa", 510))),
    ("Apple partition map", (Signature(b"ER"), Signature(b"PM\0\0", 512))),
    ("BSD disklabel", (Signature(b"\x57\x45\x56\x82", 512), Signature(b"\x57\x45\x56\x82", 644))),
    ("XFS", (Signature(b"XFSB"),)),
    ("APFS", (Signature(b"NXSB", 32),)),
    ("squashfs", (Signature(b"hsqs"), Signature(b"\4\0\0\0", 28))),
    ("F2FS", (Signature(b"\x10\x20\xf5\xf2", 1024),)),
    ("EROFS", (Signature(b"\xe2\xe1\xf5\xe0", 1024),)),
    ("HFS+", (Signature(b"H+\0\4", 1024),)),
    ("HFSX", (Signature(b"HX\0\5", 1024),)),
    ("bcache", (Signature(b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 4120),)),
    ("bcachefs", (Signature(b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", 4120),)),
    ("Linux RAID", (Signature(b"\xfc\x4e\x2b\xa9\1\0\0\0", 4096),)),
    ("Linux RAID", (Signature(b"\xfc\x4e\x2b\xa9\1\0\0\0"),)),
    ("LVM2", (Signature(b"LABELONE"), Signature(b"LVM2 001", 24))),
    ("LVM2", (Signature(b"LABELONE", 512), Signature(b"LVM2 001", 536))),
    ("LVM2", (Signature(b"LABELONE", 1024), Signature(b"LVM2 001", 1048))),
    ("LVM2", (Signature(b"LABELONE", 1536), Signature(b"LVM2 001", 1560))),
    ("swap", (Signature(b"SWAPSPACE2", 4086),)),
    ("swap", (Signature(b"SWAPSPACE2", 8182),)),
    ("swap", (Signature(b"SWAPSPACE2", 16374),)),
    ("swap", (Signature(b"SWAPSPACE2", 65526),)),
    ("ReiserFS", (Signature(b"ReIsEr", 8244),)),
    ("ReiserFS", (Signature(b"ReIsEr", 65588),)),
    ("JFS", (Signature(b"JFS1", 32768),)),
    ("UDF", (Signature(b"BEA01\1", 32769),)),
    ("btrfs", (Signature(b"_BHRfS_M", 65600),)),
)
"""What a raw disk may show: all signatures of one line together. The last reach 65608 bytes into the disk."""

BOOT = b"\x55\xaa"
PARTITIONS = Struct("<B3sB3sII")
GPT = Struct("<8sIIIIQ")
BIOS_PARAMETERS = Struct("<HBHBHHB")
EXT = Struct("<II4xIIII4xI20xHHHH12xI")
"""ext2/3/4 superblock: inodes, blocks, free blocks, free inodes, first block, log2 of the block size less 10, blocks
per group, magic, state, errors, minor revision, revision."""


def evidence_of_raw(head: bytes, tail: bytes, size: int) -> str | None:
    """What shows that a file is a raw disk: the name of a partition table, file system or volume, or "zeros"; or None.

    Text, archives and random bytes show nothing, and so a name inside an image cannot expose them.
    """
    if has_gpt(head, tail, size):
        return "GPT"
    for name, signatures in EVIDENCE:
        if all(head.startswith(magic, offset) for magic, offset in signatures):
            return name
    if has_fat(head):
        return "FAT"
    if has_mbr(head):
        return "MBR"
    if has_ext(head):
        return "ext2/3/4"
    if head.count(0) == len(head) and tail.count(0) == len(tail):
        return "zeros"
    return None


def has_gpt(head: bytes, tail: bytes, size: int) -> bool:
    """Whether a GUID partition table header lies in the second or the last sector, of 512 or 4096 bytes."""
    for sector in (512, 4096):
        last = len(tail) - sector
        for where, at, number in ((head, sector, 1), (tail, last, size // sector - 1)):
            if at >= 0 and len(where) >= at + GPT.size:
                magic, revision, length, _, reserved, own = GPT.unpack_from(where, at)
                if magic == b"EFI PART" and revision >> 16 == 1 and 92 <= length <= sector and not reserved:
                    return own == number  # type: ignore[no-any-return]
    return False


def has_mbr(head: bytes) -> bool:
    """Whether a master boot record with a sane table of partitions, or with an empty one, is in sector 0."""
    if head[510:512] != BOOT:
        return False
    for entry in range(446, 510, 16):
        active, _, kind, _, start, sectors = PARTITIONS.unpack_from(head, entry)
        if active & 0x7F or bool(kind) != bool(sectors) or (kind and not start):
            return False
    return True


def has_fat(head: bytes) -> bool:
    """Whether sector 0 is the boot sector of a FAT file system: a jump and a sane BIOS parameter block."""
    if head[510:512] != BOOT or not (head[:1] == b"\xe9" or (head[:1] == b"\xeb" and head[2:3] == b"\x90")):
        return False
    sector, cluster, reserved, tables, _, _, media = BIOS_PARAMETERS.unpack_from(head, 11)
    return (
        sector in (512, 1024, 2048, 4096)
        and cluster in (1, 2, 4, 8, 16, 32, 64, 128)
        and reserved > 0
        and tables in (1, 2)
        and (media == 0xF0 or media >= 0xF8)
    )


def has_ext(head: bytes) -> bool:
    """Whether a sane ext2, ext3 or ext4 superblock lies at 1024."""
    if head[1080:1082] != b"\x53\xef" or len(head) < 1024 + EXT.size:
        return False
    inodes, blocks, _, free, first, scale, group, _, state, errors, _, revision = EXT.unpack_from(head, 1024)
    sane = inodes > 0 and blocks > 0 and free <= inodes and first <= 1 and scale <= 6 and group > 0
    return bool(sane and state <= 7 and errors <= 3 and revision <= 1)
