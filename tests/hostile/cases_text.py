"""Texts of an image that would command the terminal: titles, colours, cleared screens, lines that look like ours.

JSON escapes them by itself; the text for people must as well. Nothing of them may reach a terminal as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import pack

from .case import Ask, Blob, Case, File, always, ask, only
from .forge import dmg, iso, luks, parallels, qcow, qcow2, qed, vdi, vhdx, vmdk, vpc

SPOOF = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nimage: other\nfile format: raw\n\u202eslaf"
"""Sets the title, clears the screen, changes the colour, begins a line, writes from right to left."""
RAW = SPOOF.encode()
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\x0d\\x0aimage: other\\x0afile format: raw\\x0a\\u202eslaf"
CLUSTER = 65536
LIST = ("snapshot", "-l", "x")
CHECK = (Ask(("check", "x"), 0, "…", (), ("instar",)),)


def cases() -> Iterator[Case]:
    """Every text of every format that info, check or snapshot -l can print."""
    for name, blob, asks in (*qemu(), *others()):
        yield Case(
            f"text: {name}",
            f"{name} is meant for the terminal",
            "terminal spoof",
            only(blob),
            asks,
            qemu="prints it, and the terminal obeys",
        )
    for name, files, ask_for in files_beside():
        yield Case(f"text: {name}", f"{name} is meant for the terminal", "terminal spoof", always(files), ask_for)


def info(*shows: str, code: int = 0, line: str = "") -> tuple[Ask, ...]:
    """info shows these, and JSON something that can be parsed."""
    return (ask("info", "x", code, line, shows), ask("info", "x", code, line, (), ("--output=json",)))


def qemu() -> Iterator[tuple[str, Blob, tuple[Ask, ...]]]:
    """qcow2, qcow, QED."""
    backing = qcow2.image(backing=RAW, extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"\x1b[2J\n"))
    yield "qcow2 backing name and format", backing, info(f"backing file: {SHOWN}", "backing file format: \\x1b[2J\\x0a")
    data = qcow2.image(incompatible=qcow2.EXTERNAL, extensions=qcow2.extension(qcow2.DATA_FILE, RAW))
    yield "qcow2 data file", data, info(f"data file: {SHOWN}")
    extra = pack(">QQQ", 0, 1 << 20, (1 << 64) - 1)
    entry = qcow2.snapshot(RAW, b"\x1b[1m\n", l1_offset=3 * CLUSTER, l1_size=1, extra=extra)
    named = qcow2.image(snapshots=1, snapshots_offset=5 * CLUSTER, more=((5 * CLUSTER, entry),))
    listed = (Ask(LIST, 0, "", (SHOWN, "\\x1b[1m\\x0a")),)
    yield "qcow2 snapshot", named, info(SHOWN, "\\x1b[1m\\x0a") + listed
    bitmap = pack(">QIIBBHI", 6 * CLUSTER, 1, 0, 1, 16, len(RAW), 0) + RAW
    directory = bitmap + bytes(-len(bitmap) % 8)
    ext = qcow2.extension(qcow2.BITMAPS, pack(">IIQQ", 1, 0, len(directory), 5 * CLUSTER))
    marked = qcow2.image(autoclear=1, extensions=ext, more=((5 * CLUSTER, directory),))
    yield "qcow2 bitmap", marked, info(f"name: {SHOWN}")
    yield "qcow backing name", qcow.image(backing=RAW), info(f"backing file: {SHOWN}")
    yield "qed backing name", qed.image(backing=RAW), info(f"backing file: {SHOWN}")


def others() -> Iterator[tuple[str, Blob, tuple[Ask, ...]]]:
    """All other formats. `info` shows what it does not know too, under the name instar."""
    bare = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
    parent = Blob(vmdk.text('RW 8 FLAT "x" 0', parent=bare.encode()))
    yield "vmdk parent name", parent, info("backing file: \\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e")
    kind = Blob(vmdk.text('RW 8 FLAT "x" 0', kind="\x1b[2J"))
    yield "vmdk type", kind, info(code=1, line="Could not open 'x': Unsupported image type '?[2J'")
    line = Blob(vmdk.text(b"RW 8 \x1b[2J \r\x07"))
    yield "vmdk extent line", line, info(code=1, line="Could not open 'x': Invalid extent line: …")
    adapter = Blob(vmdk.text('RW 8 FLAT "x" 0') + b'ddb.virtualHWVersion = "\x1b[2J"\n')
    yield "vmdk hardware version", adapter, info()
    yield "vhdx parent name", vhdx.image(parent=vhdx.parent(SPOOF)), info(f"backing file: {SHOWN}")
    twice = vhdx.image(parent=[*vhdx.parent("y"), (SPOOF, "a"), (SPOOF, "b")])
    yield "vhdx locator key", twice, info(code=1, line="Could not open 'x': the parent locator has '…' twice")
    creator = vhdx.image(more=((8, SPOOF.encode("utf-16-le")),))
    yield "vhdx creator", creator, info()
    name = vpc.dynamic(names=[(b"W2ru", SPOOF.encode("utf-16-le"))], type=vpc.DIFFERENCING)
    yield "vpc parent name", name, info(f"backing file: {SHOWN}")
    yield "vpc creator", vpc.dynamic(creator=b"\x1b[2J", host=b"\x9b\r\n\x07"), info()
    yield "vdi description", vdi.image(description=RAW), info()
    named = [dmg.mish([(dmg.ZERO, 0, 2048, 0, 0)], sectors=5)]
    xml = dmg.plist(named, "\u009b31m\u202e&#13;&#10;line".encode())
    yield "dmg partition name", dmg.image(xml=xml), info()
    yield "luks identifier", luks.image(uuid=RAW[:39]), info("uuid: \\x1b]0;owned\\x07\\x1b[2J")
    yield "luks cipher", luks.image(cipher=b"\x1b[2J"), info(code=1, line="Could not open 'x': Algorithm '?[2J' …")
    yield "luks2 label", luks.image2(label=RAW[:47], subsystem=b"\x1b[2J"), info("\\x1b]0;owned\\x07")
    token = luks.image2(tokens={"0": {"type": SPOOF, "keyslots": ["0"]}})
    yield "luks2 token", token, info()
    wanted = luks.image2(
        config={"json_size": "12288", "keyslots_size": "16744448", "requirements": {"mandatory": [SPOOF]}}
    )
    yield "luks2 requirement", wanted, info(code=1, line="Could not open 'x': LUKS2 requirement '…' not supported")
    yield "iso volume", iso.image(volume=RAW[:32], publisher=RAW, application=RAW), info()
    yield "parallels bitmap", spoofed_bitmap(), info()


def spoofed_bitmap() -> Blob:
    """Its name is its number, whatever that is."""
    data = bytearray(parallels.bitmap())
    data[8:24] = b"\x1b[2J\x07\x1b[2J\x07\r\nabcd"[:16]
    features = parallels.feature(parallels.BITMAP, bytes(data)) + parallels.feature(0, b"")
    return parallels.image(ext=128, file=131072, more=((65536, parallels.extension(features)),))


def files_beside() -> Iterator[tuple[str, Mapping[str, File], tuple[Ask, ...]]]:
    """Names on the command line are the user's own, but a folder may be full of what somebody else unpacked."""
    name = "\x1b[2J\nvirtual size"
    shown = "\\x1b[2J\\x0avirtual size"
    yield "a file's name", {name: qcow2.image()}, (Ask(("info", name), 0, "", (f"image: {shown}",)),)
    yield "a bad file's name", {name: b"nothing"}, (Ask(("info", name), 1, f"Could not open '{shown}': no format …"),)
    absent = f"Could not open '{shown}': Could not open '{shown}': No such file or directory"
    yield "an absent file's name", {"x": b""}, (Ask(("info", name), 1, absent),)
    extent = "e\x1b[2J"
    beside: Mapping[str, File] = {"x": Blob(vmdk.text(f'RW 8 FLAT "{extent}" 0')), extent: bytes(4096)}
    yield "an extent's name", beside, info("filename: e\\x1b[2J")
