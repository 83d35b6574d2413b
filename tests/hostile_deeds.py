"""The hooks of a plugin that does what no plugin may: which deed, its image says behind the magic.

Installed by test_hostile_plugins.py as a distribution that claims the format vma.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading

from instar_core.errors import FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import (
    Bitmap,
    Coding,
    Copy,
    Extent,
    Finding,
    Geometry,
    ImageInfo,
    Kind,
    Match,
    NewFile,
    Put,
    Reference,
    Role,
    Severity,
    Snapshot,
    Tally,
    Truncate,
)

MAGIC = b"VMA\0"
SIZE = 1 << 18
OUTPUT = 4
"""Descriptor of the worker's way to its host."""
ABORT = ctypes.CDLL(None).abort


def deed(image):
    head = image.main.read(0, 64, pad=True)
    return head[len(MAGIC) :].rstrip(b"\0").decode()


def wait():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def grow():
    held = []
    while True:
        held.append(bytes(16 << 20))


def spin():
    while True:
        pass


def fill(start, how):
    while True:
        how(start)


def nest(depth):
    made = ()
    for _ in range(depth):
        made = (made,)
    return made


def recurse():
    return recurse()


def loud():
    raise ValueError("\x1b[2J\n" * 1_000_000)


def lie():
    raise FormatError("\x1b[31m" + "x" * 100_000, kind="no such kind", offset="here")


def leave():
    raise SystemExit(0)


def torn():
    os.write(OUTPUT, (100).to_bytes(4, "little") + b"V")
    os._exit(0)


def said(frame):
    os.write(OUTPUT, len(frame).to_bytes(4, "little") + frame)


ACTS = {
    "open": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "list": lambda: os.listdir("/"),
    "import": lambda: __import__("wave"),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "thread": lambda: threading.Thread(target=print).start(),
    "socket": socket.socket,
    "kill": lambda: os.kill(os.getppid(), 0),
    "unlink": lambda: os.unlink("/tmp/nothing"),
    "read-elsewhere": lambda: os.read(5, 1),
    "write-image": lambda: os.pwrite(5, b"x", 0),
    "no-such-call": lambda: ctypes.CDLL(None).syscall(ctypes.c_long(9999)),
    "grow": grow,
    "spin": spin,
    "null": lambda: ctypes.string_at(0),
    "abort": ABORT,
    "wait": wait,
    "exit": lambda: os._exit(0),
    "exit-9": lambda: os._exit(9),
    "leave": leave,
    "loud": loud,
    "lie": lie,
    "recurse": recurse,
    "torn": torn,
    "flood": lambda: os.write(OUTPUT, b"\xff" * 4096),
    "empty-frame": lambda: said(b""),
    "unknown-frame": lambda: said(b"Zzz"),
    "bad-value": lambda: said(b"V\xff\xff"),
    "long-value": lambda: said(b"Vl\xff\xff\xff\x7f"),
    "short-error": lambda: said(b"!N"),
    "two-answers": lambda: said(b"VN"),
}

PLAIN = ImageInfo("vma", SIZE)
ANSWERS = {
    "nothing": None,
    "text": "vma",
    "foreign": ImageInfo("raw", SIZE),
    "size-text": ImageInfo("vma", "1M"),
    "size-true": ImageInfo("vma", True),
    "size-negative": ImageInfo("vma", -1),
    "size-huge": ImageInfo("vma", (1 << 64) - 1),
    "references": ImageInfo("vma", SIZE, references=(Reference(Role.EXTENT, b"x"),) * 5000),
    "role": ImageInfo("vma", SIZE, references=(Reference("root", b"x"),)),
    "name-text": ImageInfo("vma", SIZE, references=(Reference(Role.BACKING, "x"),)),
    "name-long": ImageInfo("vma", SIZE, references=(Reference(Role.BACKING, b"x" * 5000),)),
    "codings": ImageInfo("vma", SIZE, codings=(Coding("deflate", 512),) * 100),
    "unit": ImageInfo("vma", SIZE, codings=(Coding("deflate", 1 << 40),)),
    "snapshots": ImageInfo("vma", SIZE, snapshots=(Snapshot("1", "a"),) * 70000),
    "flags": ImageInfo("vma", SIZE, bitmaps=(Bitmap("a", 1, ("b",) * 9),)),
    "object": ImageInfo("vma", SIZE, details={"x": object()}),
    "key": ImageInfo("vma", SIZE, details={1: 2}),
    "deep": ImageInfo("vma", SIZE, details={"x": nest(60)}),
    "deeper": ImageInfo("vma", SIZE, details={"x": nest(100_000)}),
    "number": ImageInfo("vma", SIZE, details={"x": 1 << 10_000}),
    "large": ImageInfo("vma", SIZE, details={"x": bytes(9 << 20)}),
    "short": (1, 2, 3),
}


def ones():
    for start in range(SIZE):
        yield Extent(start, 1, Kind.ZERO)


MAPS = {
    "no-extent": lambda: (),
    "no-iterable": lambda: None,
    "gap": lambda: (Extent(0, 512, Kind.ZERO), Extent(1024, SIZE - 1024, Kind.ZERO)),
    "overlap": lambda: (Extent(0, 1024, Kind.ZERO), Extent(512, SIZE - 512, Kind.ZERO)),
    "back": lambda: (Extent(512, SIZE - 512, Kind.ZERO), Extent(0, 512, Kind.ZERO)),
    "short-map": lambda: (Extent(0, 512, Kind.ZERO),),
    "long-map": lambda: (Extent(0, SIZE + 512, Kind.ZERO),),
    "empty-extents": lambda: iter(lambda: Extent(0, 0, Kind.ZERO), None),
    "kind": lambda: (Extent(0, SIZE, 9),),
    "device": lambda: (Extent(0, SIZE, Kind.DATA, 7, 0),),
    "place": lambda: (Extent(0, SIZE, Kind.DATA, 0, (1 << 63) - 1),),
    "nowhere": lambda: (Extent(0, SIZE, Kind.DATA),),
    "negative": lambda: (Extent(0, SIZE, Kind.DATA, 0, -5),),
    "coding": lambda: (Extent(0, SIZE, Kind.DATA, 0, 0, 10, 3),),
    "skip": lambda: (Extent(0, SIZE, Kind.DATA, 0, 0, 0, 0, 5),),
    "no-extents": lambda: ("extent",) * 3,
    "float": lambda: (Extent(0, 1.5, Kind.ZERO),),
}

CHECKS = {
    "no-tally": lambda: (Finding(Severity.NOTE, "x"),),
    "severity": lambda: (Finding(9, "x"), Tally()),
    "no-finding": lambda: ("x", Tally()),
    "findings": lambda: iter(lambda: Finding(Severity.LEAK, "x"), None),
    "tally-text": lambda: (Tally("x"),),
}


def write(name, size, runs):
    """The edits of a writer of this name."""
    if name == "no-geometry":
        yield Truncate(size)
        return
    if name == "geometry-unit":
        yield Geometry(0, size)
        return
    files = {
        "file-above": NewFile(b"../stolen"),
        "file-root": NewFile(b"/tmp/instar-stolen", 0, True),
        "file-named": NewFile(b"stolen", 0, True),
        "file-dots": NewFile(b".."),
    }
    yield Geometry(65536, size, zeros=name == "twice", files=(files[name],) if name in files else ())
    if name in files:
        yield Put(0, b"mine", 1)
    elif name == "edit-device":
        yield Put(0, b"x", 7)
    elif name == "edit-place":
        yield Put(1 << 63, b"x")
    elif name == "edit-text":
        yield "an edit"
    elif name == "copy-nothing":
        yield Copy(size * 2, 0, 512)
    elif name == "deaf":
        return
    elif name == "endless":
        while True:
            yield Put(0, b"x")
    for run in runs:
        if name == "leave-out":
            continue
        yield Copy(run.start, run.start, run.length)
        if name == "twice":
            yield Copy(run.start, run.start, run.length)
    if name == "open-late":
        ACTS["open"]()


PROBES = {
    "claim-raw": Match("raw"),
    "claim-other": Match("vpc"),
    "claim-text": "vma",
    "claim-long": Match("v" * 100_000),
}


@hookimpl
def instar_probe(view):
    name = view.head[len(MAGIC) : 64].rstrip(b"\0").decode()
    if name == "probe-spin":
        spin()
    if name == "probe-open":
        ACTS["open"]()
    return PROBES.get(name, Match("vma"))


@hookimpl
def instar_info(image):
    name = deed(image)
    if name in ACTS:
        ACTS[name]()
    return ANSWERS.get(name, PLAIN)


@hookimpl
def instar_map(image, span):
    name = deed(image)
    if name.startswith("map-"):
        ACTS[name[4:]]()
    if name.startswith("late-"):
        yield Extent(0, 512, Kind.ZERO)
        ACTS[name[5:]]()
    if name == "ones":
        yield from ones()
    elif name in MAPS:
        yield from MAPS[name]()
    else:
        yield Extent(span.start, span.length, Kind.ZERO)


@hookimpl
def instar_check(image):
    name = deed(image)
    if name.startswith("check-"):
        ACTS[name[6:]]()
    return CHECKS.get(name, lambda: (Tally(),))()


@hookimpl
def instar_write(request, runs):
    yield from write(request.options["deed"], request.size, runs)


assert sys.modules.get("wave") is None
