"""Small images by hand: just what tells a format, as bytes."""

from __future__ import annotations

import struct

KIB = 1 << 10
MIB = 1 << 20
SIZE = 5 * MIB


def put(data: bytes, at: int, what: bytes) -> bytes:
    """The data with these bytes there."""
    return data[:at].ljust(at, b"\0") + what + data[at + len(what) :]


def qcow2(version: int = 3, backing: int = 0, features: int = 0, size: int = SIZE) -> bytes:
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 0, 16, size)
    return put(put(bytes(64 * KIB), 0, header), 72, struct.pack(">Q", features))


def vhd(size: int = SIZE) -> bytes:
    return put(put(bytes(2 * KIB), 0, b"conectix"), 40, struct.pack(">Q", size))


def vdi(size: int = SIZE) -> bytes:
    return put(put(bytes(2 * KIB), 0x40, b"\x7f\x10\xda\xbe"), 0x170, struct.pack("<Q", size))


def qed() -> bytes:
    return put(bytes(2 * KIB), 0, b"QED\0")


METADATA_REGION = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
VIRTUAL_DISK_SIZE = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")


def vhdx(size: int = SIZE, metadata: int = MIB, signature: bytes = b"regi") -> bytes:
    data = put(bytes(metadata + 2 * 64 * KIB), 0, b"vhdxfile")
    data = put(data, 192 * KIB, struct.pack("<4sIII16sQII", signature, 0, 1, 0, METADATA_REGION, metadata, MIB, 1))
    table = struct.pack("<8sHH20x", b"metadata", 0, 1) + struct.pack("<16sII8x", VIRTUAL_DISK_SIZE, 64 * KIB, 8)
    return put(put(data, metadata, table), metadata + 64 * KIB, struct.pack("<Q", size))


def early_vhdx() -> bytes:
    """A VHDX whose metadata lies before the table that says where it is."""
    data = put(vhdx(), 64 * KIB, vhdx()[MIB : MIB + 64])
    return put(data, 192 * KIB + 32, struct.pack("<Q", 64 * KIB))


DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=fffffffe
createType="{kind}"

# Extent description
{extent}

# The Disk Data Base
ddb.virtualHWVersion = "4"
"""
GD_AT_END = (1 << 64) - 1


def descriptor(kind: str = "monolithicSparse", extent: str = 'RW 10240 SPARSE "disk.vmdk"') -> bytes:
    return DESCRIPTOR.format(kind=kind, extent=extent).encode()


def vmdk_header(size: int = SIZE, version: int = 1, at: int = 1, sectors: int = 20, directory: int = 21) -> bytes:
    return struct.pack("<4sIIQQQQIQQ", b"KDMV", version, 3, size // 512, 128, at, sectors, 512, 21, directory)


def vmdk(text: bytes | None = None, **header: int) -> bytes:
    return put(put(bytes(64 * KIB), 0, vmdk_header(**header)), 512, descriptor() if text is None else text)


def stream_optimized(footer: bool = True) -> bytes:
    """A VMDK whose footer counts instead of its header; without `footer`, where it would be there are zeros."""
    text = descriptor("streamOptimized")
    if not footer:
        return vmdk(text, directory=GD_AT_END) + bytes(3 * 512)
    marker = struct.pack("<QII496x", 1, 0, 3)
    return vmdk(text, directory=GD_AT_END) + marker + vmdk_header().ljust(512, b"\0") + bytes(512)


def iso(blocks: int = 200, identifier: bytes = b"CD001") -> bytes:
    data = put(bytes(2048 * blocks), 32 * KIB, b"\1" + identifier)
    data = put(data, 32 * KIB + 80, struct.pack("<I", blocks) + struct.pack(">I", blocks))
    return put(data, 32 * KIB + 128, struct.pack("<H", 2048) + struct.pack(">H", 2048))


def mbr(boot: int = 0, kind: int = 0xEE, head: int = 2, first: int = 1, entry: int = 0) -> bytes:
    data = put(bytes(20 * 512), 510, b"\x55\xaa")
    return put(data, 446 + 16 * entry, struct.pack("<BBBBBBBBII", boot, 0, head, 0, kind, 0, 0, 0, first, 9))


def fat() -> bytes:
    return put(put(mbr(), 0x10, b"\2"), 0x15, b"\xf8")


def luks(version: int = 1, payload: int = 8) -> bytes:
    header = struct.pack(
        ">6sH32s32s32sII20s32sI", b"LUKS\xba\xbe", version, b"aes", b"xts-plain64", b"sha256", payload, 64, b"", b"", 9
    )
    return header.ljust(64 * KIB, b"\0")


AGREED = {
    "nothing": b"",
    "one-byte": b"x",
    "zeros": bytes(300 * KIB),
    "text": b"some words\n" * 1000,
    "qcow2": qcow2(),
    "qcow2-v2": qcow2(2),
    "qcow2-v1": qcow2(1),
    "qcow2-v4": qcow2(4),
    "qcow2-backing": qcow2(backing=512),
    "qcow2-data-file": qcow2(features=4),
    "qcow2-subclusters": qcow2(features=16),
    "qcow2-dirty": qcow2(features=1),
    "qcow2-far-feature": qcow2(features=1 << 63),
    "qcow2-all": qcow2(backing=512, features=(1 << 64) - 1),
    "vhd": vhd(),
    "vdi": vdi(),
    "qed": qed(),
    "vhdx": vhdx(),
    "vmdk": vmdk(),
    "vmdk-stream": stream_optimized(),
    "vmdk-no-footer": stream_optimized(footer=False),
    "vmdk-flat-inside": vmdk(descriptor("monolithicFlat")),
    "vmdk-path": vmdk(descriptor(extent='RW 10 SPARSE "/etc/passwd"')),
    "vmdk-mode": vmdk(descriptor(extent='WO 10 SPARSE "a"')),
    "vmdk-no-extent": vmdk(descriptor(extent="")),
    "vmdk-no-descriptor": vmdk(b""),
    "vmdk-latin": vmdk(descriptor(extent='RW 10 SPARSE "\xe9"').decode().encode("latin-1")),
    "vmdk-version": vmdk(version=9),
    "vmdk-place": vmdk(at=2),
    "iso": iso(),
    "udf": iso(identifier=b"NSR02"),
    "gpt": mbr(),
    "gpt-boot": mbr(boot=3),
    "gpt-chs": mbr(head=1),
    "gpt-lba": mbr(first=2),
    "gpt-second": mbr(entry=1),
    "mbr": mbr(kind=0x83, head=9, first=2048),
    "mbr-empty": mbr(kind=0),
    "fat": fat(),
    "luks": luks(),
    "luks2": luks(version=2),
    "iso-and-qcow2": put(iso(), 0, qcow2()[:512]),
    "iso-and-mbr": put(iso(), 0, mbr()[:512]),
}
"""Images of which oslo.utils says the same, whatever the size of the chunks from a sector on."""

SAFER = {
    "qcow2 too short for a header": qcow2()[:104],
    "vdi too short for a header": vdi()[:200],
    "qed too short for a header": qed()[:200],
    "iso too short for a descriptor": iso()[: 32 * KIB + 100],
    "a VMDK descriptor, padded with zeros": descriptor("monolithicFlat").ljust(512, b"\0"),
    "a VMDK descriptor alone that claims to hold the disk": descriptor(),
    "a VMDK descriptor without createType": b"# Disk DescriptorFile\nversion=1\n",
    "a VMDK with more sectors than there can be": put(vmdk(), 12, b"\xff" * 8),
    "a VHDX whose region table cannot be read": vhdx(signature=b"xxxx"),
}
"""Images that oslo.utils takes for raw or for safe, and this project for neither, and why."""
