"""Little that wants to be much: compressed data, property lists, JSON, key derivation, tables of nothing."""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping
from struct import pack
from typing import Any

from .case import LINES, MIB, Ask, Blob, Case, ask, closed, only, walk
from .forge import cloop, dmg, luks, parallels, qcow2, vhdx, vmdk

CLUSTER = 65536
SECRET = ("--object", "secret,id=s,data=x", "--image-opts", "driver=luks,key-secret=s,file.filename=x")

Row = tuple[str, Blob, tuple[Ask, ...]]


def cases() -> Iterator[Case]:
    """All of them, with the memory and the time that each may take."""
    for name, blob, asks in (*compressed(), *apple(), *texts(), *tables()):
        yield Case(f"bomb: {name}", name, "CVE-2015-5162", only(blob), asks, memory=500 * MIB)
    for name, blob, message in derivations():
        asks = (
            ask("info", "x", 0),
            Ask(("convert", "-O", "raw", *SECRET, "out"), 1, f"Could not open '{SECRET[-1]}': {message}"),
        )
        yield Case(f"bomb: {name}", name, "key derivation without a bound", only(blob), asks, qemu="derives for hours")


def cluster(stored: bytes, **fields: Any) -> Blob:
    """A qcow2 whose first cluster is stored so."""
    return qcow2.image(
        l2=[qcow2.packed(16, 5 * CLUSTER, min(len(stored), CLUSTER))], content=stored[: 2 * CLUSTER], **fields
    )


def failed(why: str) -> str:
    """What convert says where the disk's first byte cannot be read."""
    return f"error while reading at byte 0: {why}"


def compressed() -> Iterator[Row]:
    """64 MiB of zeros, or more, in the place of one unit. What goes past the unit is never made."""
    zeros = bytes(64 * MIB)
    deflated = qcow2.deflated(zeros)
    stream = zlib.compress(zeros, 9)
    yield "a qcow2 cluster of 64 MiB", cluster(deflated), walk(check=3)
    short = failed("compressed data ends after 100 of 65536 bytes")
    yield "a qcow2 cluster of 100 bytes", cluster(qcow2.deflated(bytes(100))), walk("", 3, short)
    yield "a qcow2 cluster of noise", cluster(b"\xff" * 1000), walk("", 3, failed("compressed data is corrupt: …"))
    entries = [qcow2.packed(16, 5 * CLUSTER, CLUSTER)] * 4096
    many = qcow2.image(l1=[4 * CLUSTER | qcow2.COPIED], size=4096 * CLUSTER, l2=entries, content=deflated[:CLUSTER])
    yield "a qcow2 of 256 MiB that is one cluster of 64 MiB", many, walk(check=2)
    window = b"\x28\xb5\x2f\xfd\x00\xf8\x03\x00\x10\x00" + b"a" * 100
    yield (
        "a zstd frame with a window of terabytes",
        cluster(window, incompatible=8, compression=1),
        walk("", 3, failed("…")),
    )
    empty = pack("<II", 0x184D2A50, 0) * 8000
    yield "zstd frames to be skipped", cluster(empty, incompatible=8, compression=1), walk("", 3, failed("…"))
    yield "a VMDK grain of 64 MiB", vmdk.stream(stream), walk()
    length = "the compressed grain at sector 128 claims 4294967295 bytes"
    yield "a VMDK grain that claims 4 GiB", vmdk.stream(vmdk.deflated(bytes(65536)), length=(1 << 32) - 1), walk(length)
    more = failed("a compressed block makes more than 4096 bytes")
    yield "cloop blocks of 64 MiB for 4 KiB", cloop.image([stream] * 4), walk("", 0, more)
    yield "cloop blocks of 64 MiB", cloop.image([stream] * 2, block=64 * MIB), walk()


def apple() -> Iterator[Row]:
    """Chunks of dmg in every coding, and what its property list could be."""
    zeros = bytes(64 * MIB)
    for name, kind, data in (
        ("zlib", dmg.ZLIB, zlib.compress(zeros, 9)),
        ("bzip2", dmg.BZIP2, bz2.compress(zeros)),
        ("lzma", dmg.LZMA, lzma.compress(zeros)),
        ("adc", dmg.ADC, b"\x80a" + b"\x7f\0\0" * 100_000),
    ):
        yield f"a dmg chunk of {name}", dmg.image([(kind, 0, 2048, 0, len(data))], data), walk()
    claim = b"bvxn" + pack("<II", (1 << 32) - 1, 10) + bytes(10) + b"bvx$"
    yield (
        "a dmg chunk of lzfse",
        dmg.image([(dmg.LZFSE, 0, 2048, 0, len(claim))], claim.ljust(512)),
        walk("", 0, LINES),
    )
    large = "Invalid argument: a chunk of 131073 sectors in 100 bytes is too large"
    yield "a dmg chunk of more than 64 MiB", dmg.image([(dmg.ZLIB, 0, 131073, 0, 100)]), closed(large)
    long = "Invalid argument: a chunk of 1 sectors in 67108865 bytes is too large"
    yield "a dmg chunk stored in more than 64 MiB", dmg.image([(dmg.ZLIB, 0, 1, 0, (64 << 20) + 1)]), closed(long)
    table = dmg.mish([(dmg.ZERO, 0, 2048, 0, 0)])
    laughs = b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(10))
    for name, head in (
        ("a billion laughs", b'<!DOCTYPE x [<!ENTITY a "ha">' + laughs + b"]>"),
        ("an entity that is a file", b'<!DOCTYPE x [<!ENTITY k SYSTEM "../outside/passwd">]>'),
    ):
        blob = dmg.image(xml=dmg.plist([table], b"&k;", head))
        yield name, blob, closed("the property list declares a document type of its own")
    outer = dmg.image(xml=dmg.plist([table], b"n", b'<!DOCTYPE x SYSTEM "../outside/passwd">'))
    yield "a document type that is a file", outer, walk()
    deep = dmg.image(xml=b"<plist>" + b"<dict>" * 200_000)
    yield "elements in elements", deep, closed("the property list is nested too deeply")
    text = dmg.image(xml=b"<plist><dict><key>" + b"k" * (16 * MIB) + b"</key></dict></plist>")
    yield "a key of 16 MiB", text, walk("no chunk holds the sector 0", 2)
    yield "block tables without end", dmg.image(tables=[dmg.mish([])] * 3000), closed("more than 1024 block tables")
    less = "Invalid argument: a block table has less chunks than it says"
    yield "4294967295 chunks", dmg.image(tables=[dmg.mish([(0, 0, 1, 0, 0)], count=(1 << 32) - 1)]), closed(less)
    listed = "a property list of 67108865 bytes is too long"
    yield "a property list of 64 MiB", dmg.image(xml=bytes((64 << 20) + 1)), closed(listed)


def texts() -> Iterator[Row]:
    """JSON of LUKS2 and descriptors of VMDK."""
    bound = "LUKS2 metadata is too deep or too long"
    yield "JSON in JSON", luks.image2(b"[" * 6000 + b"]" * 6000), closed(bound)
    values = json.dumps({**luks.metadata(), "x": [1] * 100_000}).encode()
    yield "JSON of many values", luks.image2(values, size=1 << 20), closed(bound)
    yield "a number of 5000 digits", luks.image2(b'{"a":' + b"9" * 5000 + b"}"), closed("LUKS2 metadata …")
    yield "JSON that has no end", luks.image2(b'{"a":"' + b"b" * 12_282), closed("LUKS2 metadata …")
    objects = {str(number): luks.slot() for number in range(33)}
    yield "33 key slots", luks.image2(keyslots=objects, size=65536), closed("LUKS2 metadata: more than 32 keyslots")
    extents = "more than 4096 extents"
    yield "a descriptor of 80,000 extents", Blob(vmdk.text(*["RW 1 ZERO"] * 80_000)), closed(extents)
    yield (
        "blank lines that QEMU counts as extents",
        Blob(vmdk.text("\n" * 500_000 + 'RW 8 FLAT "x" 0')),
        closed(extents),
    )
    yield "a name of 900,000 bytes", Blob(vmdk.text(f'RW 8 FLAT "{"n" * 900_000}" 0')), closed("Invalid extent line: …")
    yield (
        "a number of 900,000 digits",
        Blob(vmdk.text(f'RW {"9" * 900_000} FLAT "x" 0')),
        closed("Invalid extent line: …"),
    )
    name = vmdk.text('RW 8 FLAT "x" 0', parent=b"p" * 5000)
    yield "a parent's name of 5000 bytes", Blob(name), closed("the name of the parent image is too long")


def tables() -> Iterator[Row]:
    """Counts at their bound, and lists of nothing."""
    entries = b"".join(qcow2.snapshot(b"s%d" % n, b"%d" % n) for n in range(65536))
    spare = 16 * CLUSTER
    full = qcow2.image(
        snapshots=65536, snapshots_offset=spare, clusters=17 + len(entries) // CLUSTER, more=((spare, entries),)
    )
    yield "65,536 snapshots", full, (Ask(("info", "x"), 0, "", ("s65535",), ("instar",)),)
    extra = qcow2.image(snapshots=1, snapshots_offset=5 * CLUSTER, more=((5 * CLUSTER, pack(">36xI", 1025)),))
    yield "a snapshot's extra data", extra, closed("Too much extra metadata in snapshot table entry 0")
    long = b"".join(
        pack(">12xHHIIQII", 65535, 65535, 0, 0, 0, 0, 1024).ljust(40 + 1024 + 131070 + 2, b"n") for _ in range(4)
    )
    names = qcow2.image(snapshots=65536, snapshots_offset=spare, clusters=32, more=((spare, long),))
    yield "snapshots with names of 64 KiB", names, closed("…")
    ext = pack(">IIQQ", 65535, 0, 65535 * 1024, 5 * CLUSTER)
    bitmaps = qcow2.image(autoclear=1, extensions=qcow2.extension(qcow2.BITMAPS, ext))
    yield "65,535 bitmaps", bitmaps, closed("Bitmap '' doesn't satisfy the constraints")
    many = qcow2.image(extensions=qcow2.extension(5, b"") * 5000)
    yield "5000 header extensions", many, closed("Too many header extensions")
    names_of = qcow2.image(
        incompatible=1 << 40, extensions=qcow2.extension(qcow2.FEATURES, pack(">BB46s", 0, 40, b"\x1b[2J") * 1000)
    )
    yield "1000 names of features", names_of, closed("Unsupported qcow2 feature(s): ?[2J")
    zeroed = vhdx.image(log=vhdx.log_entry(5, 0, [(3 * MIB, 1 << 40)]))
    yield "a VHDX log that zeroes a TiB", zeroed, closed("the log zeroes more than metadata can be long")
    far = vhdx.image(log=vhdx.log_entry(5, 0, [(3 * MIB, 4096)], last=1 << 62))
    yield "a VHDX log that wants 4 EiB", far, closed("the log wants a file of 4611686018427387904 bytes")
    past = vhdx.image(log=vhdx.log_entry(5, 0, [(1 << 60, bytes(4096))]))
    yield "a VHDX log that writes at 1 EiB", past, closed("the log changes the file at 1152921504606846976")
    cut = vhdx.image(log=vhdx.log_entry(5, 0, [(3 * MIB, 4096)], flushed=1 << 50))
    yield (
        "a VHDX log of a longer file",
        cut,
        closed("the file ends at 4194304, but had 1125899906842624 bytes when its log was written"),
    )
    lengthy = vhdx.image(log=b"loge", log_length=1 << 31, log_offset=64 * MIB)
    yield "a VHDX log of 2 GiB", lengthy, closed("a log of 2147483648 bytes is too long to be replayed")
    bitmap = parallels.feature(parallels.BITMAP, parallels.bitmap(entries=1 << 30))
    table = parallels.image(ext=128, file=131072, more=((65536, parallels.extension(bitmap)),))
    wanted = "Bitmap table size 1073741824 does not correspond to bitmap size and cluster size. Expected 1"
    yield "a Parallels bitmap of 2^30 entries", table, closed(wanted)
    wide = parallels.image(tracks=4_000_000, ext=128)
    yield "a Parallels extension of 2 GB", wide, closed("Format Extension cluster of 2048000000 bytes is too large")


def derivations() -> Iterator[tuple[str, Blob, str]]:
    """Key slots that ask for hours, or for more memory than there is. info tells of them, unlocking refuses."""
    most = (1 << 32) - 1
    count = f"iteration count {most} is more than 67108864"
    yield "a LUKS1 slot of 2^32 iterations", luks.image(slots={0: {"iterations": most}}), f"Keyslot 0 {count}"
    yield "a LUKS1 digest of 2^32 iterations", luks.image(iterations=most), f"LUKS key {count}"
    kdfs: Mapping[str, tuple[dict[str, object], str]] = {
        "memory": ({"time": 4, "memory": most, "cpus": 4}, f"Keyslot 0 makes 4 passes over {most} KiB, more than …"),
        "passes": (
            {"time": most, "memory": 1024, "cpus": 4},
            f"Keyslot 0 makes {most} passes over 1024 KiB, more than …",
        ),
        "lanes": ({"time": 4, "memory": 1024, "cpus": most}, f"… {most} lanes …"),
    }
    for name, (given, message) in kdfs.items():
        slot = luks.slot("kdf", type="argon2id", **given)
        yield f"a LUKS2 slot of too many {name}", luks.image2(keyslots={"0": slot}), message
    slow = luks.image2(keyslots={"0": luks.slot("kdf", iterations=most)})
    yield "a LUKS2 slot of 2^32 iterations", slow, f"Keyslot 0 {count}"
