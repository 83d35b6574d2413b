"""What people do with images of plugins that were built long ago, in a process that sees the wheel of one.

    python exercises.py NAME

works in the current folder. Every result is compared with what is known of the content. Images are parsed in the
process sandbox.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import struct
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from random import Random

from instar_core import Settings, chain, dirty
from instar_core.cli.main import main
from instar_core.testing.overwriting import overwrite

KIB, MIB = 1 << 10, 1 << 20
UNIT = 64 * KIB
SETTINGS = Settings(sandbox="process", policy="qemu")
QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG", "")
"""A qemu-img that is to agree, where there is one."""


def instar(*words: str, code: int = 0) -> str:
    """What the command prints: its answer, or why it refuses. It ends as it should."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ended = main(["instar", *words])
    assert ended == code, (words, ended, out.getvalue(), err.getvalue())
    return out.getvalue() or err.getvalue()


def told(verb: str, path: str, *more: str, code: int = 0) -> dict:
    return json.loads(instar(verb, "--output=json", *more, path, code=code))


def write(path: str, data: bytes) -> bytes:
    with open(path, "wb") as file:
        file.write(data)
    return data


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def scattered(seed: int, size: int) -> bytes:
    """Pieces of 64 KiB: zeros, what can be compressed, what cannot."""
    random = Random(seed)
    kinds = (lambda: bytes(UNIT), lambda: random.randbytes(KIB) * 64, lambda: random.randbytes(UNIT))
    return b"".join(random.choice(kinds)() for _ in range(size // UNIT))


def content(path: str, format: str, *more: str) -> bytes:
    """The disk, as it is converted."""
    instar("convert", "-f", format, "-O", "raw", *more, path, path + ".raw")
    return read(path + ".raw")


def agreed(path: str, format: str) -> None:
    """qemu-img finds nothing wrong with the image, and reads it as instar does."""
    if QEMU_IMG:
        subprocess.run([QEMU_IMG, "check", "-q", "-f", format, path], check=True)
        instar("convert", "-f", format, "-O", "raw", path, path + ".raw")
        subprocess.run([QEMU_IMG, "compare", "-q", "-f", format, "-F", "raw", path, path + ".raw"], check=True)


def sound(path: str, format: str) -> None:
    report = told("check", path, "-f", format)
    assert (report["check-errors"], report.get("corruptions", 0), report.get("leaks", 0)) == (0, 0, 0), report


def change(path: str, format: str, data: bytes, seed: int, *numbers: int, **more: object) -> bytes:
    """Units with these numbers are overwritten; the content that the image has then. A negative number is for zeros."""
    made = bytearray(data)
    for number in numbers:
        piece = bytes(UNIT) if number < 0 else Random(seed + number).randbytes(UNIT)
        made[abs(number) * UNIT : (abs(number) + 1) * UNIT] = piece
    places = [(number * UNIT, UNIT) for number in sorted(map(abs, numbers))]
    overwrite(path, format, bytes(made), places, settings=SETTINGS, **more)
    assert content(path, format) == bytes(made)
    return bytes(made)


def made_and_read(format: str, size: int = 3 * MIB, *options: str) -> bytes:
    """A disk converted to the format, and back; measured and mapped. Its image is called `image`."""
    data = write("disk", scattered(1, size))
    given = ("-o", ",".join(options)) if options else ()
    instar("convert", "-f", "raw", "-O", format, *given, "disk", "image")
    about = told("info", "image")
    assert (about["format"], about["virtual-size"]) == (format, size), about
    assert content("image", format) == data
    ranges = json.loads(instar("map", "--output=json", "image"))
    assert sum(one["length"] for one in ranges) == size
    for one in ranges:
        place = data[one["start"] : one["start"] + one["length"]]
        assert one["data"] or one.get("compressed") or not any(place), one
    instar("compare", "-f", "raw", "-F", format, "disk", "image")
    measured = told("measure", "disk", "-f", "raw", "-O", format, *given)
    assert os.path.getsize("image") <= measured["required"] <= measured["fully-allocated"]
    instar("create", "-f", format, *given, "empty", str(size))
    assert content("empty", format) == bytes(size)
    return data


def backed(format: str, data: bytes) -> None:
    """Overlays of `image`: made, written, resized, rebased and committed."""
    instar("create", "-f", format, "-b", "image", "-F", format, "overlay")
    assert told("info", "overlay")["backing-filename"] == "image"
    changed = change("overlay", format, data, 10, 0, 7, -9)
    instar("convert", "-f", format, "-O", "raw", "image", "other")
    instar("rebase", "-f", format, "-b", "other", "-F", "raw", "overlay")
    assert told("info", "overlay")["backing-filename"] == "other"
    assert content("overlay", format) == changed
    instar("rebase", "-f", format, "-b", "", "overlay")
    assert "backing-filename" not in told("info", "overlay")
    assert content("overlay", format) == changed
    instar("create", "-f", format, "-b", "image", "-F", format, "second", str(len(data) + MIB))
    grown = content("second", format)
    assert grown == data + bytes(MIB)
    grown = change("second", format, grown, 20, 3, len(data) // UNIT + 2)
    instar("commit", "-f", format, "second")
    assert content("image", format) == grown
    assert content("second", format) == grown
    depths = {one["depth"] for one in json.loads(instar("map", "--output=json", "second")) if one["data"]}
    assert depths <= {0, 1}
    for name in ("image", "overlay", "second"):
        sound(name, format)


def resized(format: str, path: str, *modes: str) -> None:
    before = content(path, format)
    for mode in modes:
        instar("resize", "-f", format, "--preallocation", mode, path, "+1M")
        before += bytes(MIB)
        assert content(path, format) == before, mode
    instar("resize", "-f", format, "--shrink", path, "-1M")
    assert content(path, format) == before[:-MIB]
    sound(path, format)


def toy() -> None:
    made_and_read("toy")
    sound("image", "toy")
    instar("resize", "-f", "toy", "image", "+1M", code=1)
    with open("image", "r+b") as file:
        file.seek(20)
        file.write((1 << 60).to_bytes(8, "big"))
    assert told("check", "image", code=2)["corruptions"] == 1
    os.truncate("image", 100)
    assert "ends at 100" in instar("convert", "-f", "toy", "-O", "raw", "image", "raw", code=1)


def reader_image() -> tuple[bytes, bytes]:
    """An image and its disk."""
    random = Random(5)
    blocks = bytes(4096) + random.randbytes(9 * 4096)
    table = [0, 1, 2, 3, 0, 0, 5, 5, 5, *(random.randrange(10) for _ in range(500)), 0]
    footer = struct.pack("<8sQI", b"READER!\n", len(blocks), len(table)).ljust(512, b"\0")
    disk = b"".join(blocks[4096 * one : 4096 * (one + 1)] if one else bytes(4096) for one in table)
    return blocks + struct.pack(f"<{len(table)}I", *table) + footer, disk


def reader() -> None:
    image, data = reader_image()
    write("image", image)
    about = told("info", "image")
    assert (about["format"], about["virtual-size"]) == ("reader", len(data)), about
    assert content("image", "reader") == data
    sound("image", "reader")
    instar("convert", "-O", "raw", "--image-opts", "driver=reader,file.filename=image,first=8192", "late")
    assert read("late") == data[8192:]
    instar("create", "-f", "reader", "new", "1M", code=1)
    with open("image", "r+b") as file:
        file.seek(10 * 4096)
        file.write((1 << 31).to_bytes(4, "little"))
    assert told("check", "image", code=2)["corruptions"] == 1
    assert "outside" in instar("convert", "-f", "reader", "-O", "raw", "image", "raw", code=1)


def split() -> None:
    made_and_read("split", 3 * MIB, "stripe=8k", "order=odd")
    data = read("disk")
    assert {name for name in os.listdir(".") if name.startswith("image.") and name != "image.raw"} == {
        "image.even",
        "image.odd",
    }
    data = change("image", "split", data, 30, 5, -1, 11)
    write("disk", scattered(2, 3 * MIB))
    instar("convert", "-n", "-f", "raw", "-O", "split", "disk", "image")
    assert content("image", "split") == read("disk")
    instar("convert", "-f", "raw", "-O", "split", "-o", "filled=on", "disk", "filled")
    assert os.path.getsize("filled.even") + os.path.getsize("filled.odd") == 3 * MIB
    os.remove("image.odd")
    assert "image.odd" in instar("convert", "-f", "split", "-O", "raw", "image", "raw", code=1)


def ledger() -> None:
    data = made_and_read("ledger", 3 * MIB, "label=first")
    assert told("info", "image")["format-specific"]["data"]["label"] == "first"
    sound("image", "ledger")
    instar("convert", "-c", "-f", "raw", "-O", "ledger", "disk", "packed")
    assert os.path.getsize("packed") < os.path.getsize("image")
    assert content("packed", "ledger") == data
    change("packed", "ledger", data, 40, 2, -3, 4, compress=True)
    sound("packed", "ledger")
    instar("amend", "-f", "ledger", "-o", "label=second", "image")
    assert told("info", "image")["format-specific"]["data"]["label"] == "second"
    snapshots(data)
    bitmaps(content("image", "ledger"))
    mended()
    backed("ledger", content("image", "ledger"))
    resized("ledger", "overlay", "off", "falloc", "full")
    if importlib.util.find_spec("cryptography"):
        encrypted(data)


def snapshots(data: bytes) -> None:
    instar("snapshot", "-c", "one", "image")
    second = change("image", "ledger", data, 50, 0, 1, -2)
    instar("snapshot", "-c", "two", "image")
    third = change("image", "ledger", second, 60, 1)
    assert [one["name"] for one in told("info", "image")["snapshots"]] == ["one", "two"]
    assert content("image", "ledger", "-l", "one") == data
    instar("snapshot", "-a", "two", "image")
    assert content("image", "ledger") == second != third
    instar("resize", "-f", "ledger", "image", "+1M", code=1)
    instar("snapshot", "-d", "one", "image")
    instar("snapshot", "-d", "two", "image")
    instar("snapshot", "-d", "two", "image", code=1)
    assert content("image", "ledger") == second
    sound("image", "ledger")


def bits(name: str) -> list[tuple[int, int]]:
    with chain.open_member("image", SETTINGS, "map", format="ledger") as member:
        return [(run.start, run.length) for run in dirty.runs(member, name)]


def bitmaps(data: bytes) -> None:
    instar("bitmap", "-f", "ledger", "--add", "-g", "32768", "image", "first")
    instar("bitmap", "-f", "ledger", "--add", "--disable", "image", "second")
    change("image", "ledger", data, 70, 3, 9, -10)
    assert (bits("first"), bits("second")) == ([(3 * UNIT, UNIT), (9 * UNIT, 2 * UNIT)], [])
    instar("bitmap", "-f", "ledger", "--merge", "first", "--enable", "image", "second")
    assert bits("second") == bits("first")
    instar("bitmap", "-f", "ledger", "--clear", "image", "first")
    assert bits("first") == []
    known = {one["name"]: one["flags"] for one in told("info", "image").get("bitmaps", [])}
    assert not known or known == {"first": ["auto"], "second": ["auto"]}
    instar("bitmap", "-f", "ledger", "--remove", "image", "first")
    instar("bitmap", "-f", "ledger", "--remove", "image", "second")
    instar("bitmap", "-f", "ledger", "--remove", "image", "second", code=1)


def mended() -> None:
    instar("convert", "-f", "ledger", "-O", "ledger", "image", "hurt")
    size = os.path.getsize("hurt")
    os.truncate("hurt", size + 5 * UNIT)
    assert told("check", "hurt", code=3)["leaks"] == 5
    instar("check", "-r", "leaks", "hurt")
    assert size <= os.path.getsize("hurt") <= size + UNIT  # a page was written anew
    assert content("hurt", "ledger") == content("image", "ledger")
    sound("hurt", "ledger")
    instar("convert", "-f", "ledger", "-O", "ledger", "image", "hurt")
    os.truncate("hurt", size - UNIT)
    assert told("check", "hurt", code=2)["corruptions"] == 1
    instar("check", "-r", "all", "hurt")
    sound("hurt", "ledger")


def encrypted(data: bytes) -> None:
    write("right", b"right")
    write("wrong", b"wrong")
    secret = ("--object", "secret,id=key,file=right")
    made = ("-o", "key-secret=key,iter-time=1")
    instar("convert", *secret, "-f", "raw", "-O", "ledger", *made, "disk", "locked")
    about = told("info", "locked")
    assert about["encrypted"] is True
    assert data[:UNIT] not in read("locked") or not any(data[:UNIT])
    opened = ("--image-opts", "driver=ledger,file.filename=locked,key-secret=key")
    instar("convert", *secret, "-O", "raw", *opened, "plain")
    assert read("plain") == data
    instar("convert", "--object", "secret,id=key,file=wrong", "-O", "raw", *opened, "plain", code=1)
    instar("convert", "-f", "ledger", "-O", "raw", "locked", "plain", code=1)
    write("disk", scattered(3, len(data)))
    instar("convert", "-n", *secret, "-f", "raw", "disk", "--target-image-opts", opened[1])
    instar("convert", *secret, "-O", "raw", *opened, "plain")
    assert read("plain") == read("disk")
    both = (*secret, "--object", "secret,id=next,file=wrong")
    instar("amend", *both, "-o", "new-secret=next,old-secret=next", *opened, code=1)
    instar("amend", *both, "-o", "new-secret=next,old-secret=key,label=moved", *opened)
    instar("convert", *secret, "-O", "raw", *opened, "plain", code=1)
    instar("convert", "--object", "secret,id=key,file=wrong", "-O", "raw", *opened, "plain")
    assert read("plain") == read("disk")
    assert told("info", "locked")["format-specific"]["data"]["label"] == "moved"


def bochs_image() -> tuple[bytes, bytes]:
    """A growing disk by the Bochs Developers Guide, of extents of a bitmap and eight sectors; and its disk."""
    random = Random(7)
    size, extent = 40 * 4096, 4096
    there = {3: 0b10110001, 4: 0xFF, 17: 0b1, 39: 0x80}
    entries, parts, disk = [0xFFFFFFFF] * 40, [], bytearray(size)
    for place, (number, mask) in enumerate(there.items()):
        entries[number] = place
        parts.append(bytes([mask]).ljust(512, b"\0"))
        for sector in range(8):
            piece = random.randbytes(512)
            parts.append(piece)
            if mask >> sector & 1:
                at = number * extent + sector * 512
                disk[at : at + 512] = piece
    names = b"Bochs Virtual HD Image", b"Redolog", b"Growing"
    head = struct.pack("<32s16s16sIIIIIIQ", *names, 0x20000, 512, 40, 512, extent, 0, size).ljust(512, b"\0")
    return head + struct.pack("<40I", *entries) + b"".join(parts), bytes(disk)


def bochs() -> None:
    image, data = bochs_image()
    write("image", image)
    about = told("info", "image")
    assert (about["format"], about["virtual-size"]) == ("bochs", len(data)), about
    assert content("image", "bochs") == data
    sound("image", "bochs")
    instar("create", "-f", "bochs", "new", "1M", code=1)
    if QEMU_IMG:
        subprocess.run([QEMU_IMG, "compare", "-q", "-f", "bochs", "-F", "raw", "image", "image.raw"], check=True)


def qed() -> None:
    data = made_and_read("qed", 3 * MIB, "cluster_size=16k", "table_size=2")
    sound("image", "qed")
    agreed("image", "qed")
    change("image", "qed", data, 80, 0, -5, 40)
    backed("qed", content("image", "qed"))
    instar("resize", "-f", "qed", "image", "+1M")
    sound("image", "qed")
    os.truncate("overlay", os.path.getsize("overlay") + 5 * 16 * KIB)
    for name in ("image", "second"):
        agreed(name, "qed")


if __name__ == "__main__":
    os.environ.update(INSTAR_SANDBOX="process", INSTAR_IMAGE_POLICY="qemu")
    globals()[sys.argv[1]]()
