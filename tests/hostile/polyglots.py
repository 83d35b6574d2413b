"""Files of two formats at once: one for every pair of formats whose signatures leave each other room.

The pairs are computed from the core's own table of signatures, so that a new format cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from instar_core.signatures import KNOWN
from instar_core.types import Signature

from .case import Blob, Case, ask, only
from .forge import bochs, cloop, dmg, iso, luks, parallels, qcow, qcow2, qed, vdi, vhdx, vmdk, vpc

SIZE = 1 << 20
WHOLE = {
    (0, b"QFI\xfb"): b"QFI\xfb\0\0\0\3",
    (0, parallels.OLD): parallels.OLD + b"\2\0\0\0",
    (0, parallels.EXT): parallels.EXT + b"\2\0\0\0",
    (0, b"# Disk DescriptorFile"): b"# Disk DescriptorFile\n",
    (0, b"Bochs Virtual HD Image"): bochs.image().pieces[0][1][:64] + b"\0\0\2\0",
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"): cloop.PREAMBLE,
}
"""What a format's own plugin wants to see at a place besides its signature."""

READ = tuple(known for known in KNOWN if known.distribution)
UNREAD = tuple(known for known in KNOWN if not known.distribution)


def claim(signature: Signature) -> tuple[int, bytes]:
    """Where in a file of SIZE bytes a format is claimed, and the bytes that claim it."""
    data = WHOLE.get((signature.offset, signature.magic), signature.magic)
    return signature.offset % SIZE if signature.offset < 0 else signature.offset, data


def together(one: Signature, other: Signature) -> bool:
    """Whether both can stand in one file."""
    (a, first), (b, second) = claim(one), claim(other)
    return a + len(first) <= b or b + len(second) <= a


def pairs() -> tuple[list[tuple[str, Signature, str, Signature]], list[tuple[str, str]]]:
    """Of all formats that are read: the pairs that can share a file, in every way in which they can; and the others."""
    can, cannot = [], []
    for one, other in combinations(READ, 2):
        ways = [(a, b) for a in one.signatures for b in other.signatures if together(a, b)]
        can += [(one.format, a, other.format, b) for a, b in ways]
        if not ways:
            cannot.append((one.format, other.format))
    return can, cannot


def why_not(one: str, other: str) -> str:
    """Why two formats cannot share a file: the first bytes that both want. Empty where nothing keeps them apart."""
    found = {known.format: known.signatures for known in READ}
    clashes = []
    for a in found[one]:
        for b in found[other]:
            if together(a, b):
                return ""
            clashes.append(max(claim(a)[0], claim(b)[0]))
    return f"both want byte {min(clashes)}"


def file(*signatures: Signature) -> Blob:
    """A file with all of them."""
    blob = Blob(size=SIZE)
    for signature in signatures:
        blob.put(*claim(signature))
    return blob


def cases() -> Iterator[Case]:
    """Pairs; pairs of which no plugin reads one; real images with a second claim; a partition table under each."""
    for one, a, other, b in pairs()[0]:
        yield _ambiguous(f"{one} {shown(a)} and {other} {shown(b)}", file(a, b), one, other)
    foot = Signature(b"conectix", -512)
    for known in UNREAD:
        yield _ambiguous(f"{known.format} and vpc", file(known.signatures[0], foot), known.format, "vpc")
    tail = {
        "dmg": Signature(b"koly", -512),
        "iso": Signature(b"CD001", 32769),
        "vdi": Signature(b"\x7f\x10\xda\xbe", 0x40),
    }
    yield _ambiguous("four formats", file(Signature(b"QFI\xfb"), *tail.values()), "qcow2", *tail)
    yield from real()
    yield from partitioned()


def shown(signature: Signature) -> str:
    """Which signature of a format it is."""
    return f"{signature.magic[:8].hex()} at {signature.offset}"


def _ambiguous(name: str, blob: Blob, *formats: str) -> Case:
    line = f"Could not open 'x': 'x' is {' and '.join(sorted(formats))} at once; say which with -f"
    asks = (
        ask("info", "x", 1, line)._replace(names=("instar",)),
        ask("convert", "x", 1, line)._replace(names=("qemu-img",)),
    )
    return Case(name, "a file that each tool takes for something else", "polyglots", only(blob), asks[hash_of(name) :])


def hash_of(name: str) -> int:
    """0 or 1, the same in every run: every other pair is asked about twice."""
    return sum(name.encode()) % 2


def real() -> Iterator[Case]:
    """Whole images of one format with the mark of another: refused, and read as what the user says they are."""
    iso_head = (32768, iso.primary())
    both = qcow2.image(more=(iso_head,), l1=(), clusters=16, l1_size=1)
    yield _said("a qcow2 with a CD in it", both, ("iso", "qcow2"))
    yield _said("a VHD with a CD in it", vpc.dynamic(size=65536, more=(iso_head,)), ("iso", "vpc"))
    guest = qcow2.image(backing=b"/etc/passwd").content()
    disk = vpc.fixed(guest)
    yield _said("a guest of a fixed VHD writes a qcow2 header", disk, ("qcow2", "vpc"), "CVE-2008-2004")
    mbr = bytes(446) + bytes(64) + b"\x55\xaa"
    hybrid = Blob(size=1 << 20).put(0, mbr).put(32768, iso.primary()).put((1 << 20) - 512, dmg.koly(sectors=0))
    yield _ambiguous("a hybrid CD with a trailer of Apple's", hybrid, "dmg", "iso")


def _said(name: str, blob: Blob, formats: tuple[str, ...], source: str = "polyglots") -> Case:
    case = _ambiguous(name, blob, *formats)
    chosen = [ask("info", "x", 0, "", (f"file format: {format}",), ("-f", format)) for format in formats]
    return case._replace(source=source, asks=(*case.asks, *chosen))


GPT = b"EFI PART" + (1 << 16).to_bytes(4, "little") + (92).to_bytes(4, "little") + bytes(8) + (1).to_bytes(8, "little")
"""The beginning of a partition table's header, in the second of sectors of 4096 bytes."""


def partitioned() -> Iterator[Case]:
    """What shows that a disk is raw does not outweigh a format's signature: the guest writes it."""
    images = {
        "qcow2": qcow2.image(),
        "qcow": qcow.image(),
        "qed": qed.image(),
        "vmdk": vmdk.sparse(),
        "vhdx": vhdx.image(),
        "vpc": vpc.dynamic(),
        "vdi": vdi.image(),
        "luks": luks.image(),
        "parallels": parallels.image(),
        "bochs": bochs.image(),
        "cloop": cloop.image(),
        "dmg": dmg.image(data=bytes(8192)),
        "iso": iso.image(),
    }
    for format, blob in images.items():
        blob.put(4096, GPT)
        answer = ask("info", "x", 0, "", (f"file format: {format}",))
        yield Case(
            f"{format} over a partition table",
            "a guest's partition table under a header",
            "CVE-2026-24708",
            only(blob),
            (answer,),
        )
