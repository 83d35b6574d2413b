"""Names inside of images: every carrier with every name, and what is not opened, not read and not shown for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from .case import Blob, Case, File, Place, ask
from .forge import qcow, qcow2, qed, vhdx, vmdk, vpc
from .names import ALIKE, ITSELF, NAMES, PROTOCOL, Name


class Carrier(NamedTuple):
    """An image that names a file. `noun` is what it calls it, `format` what it says that it is, if it says so."""

    key: str
    build: Callable[[bytes], bytes | Blob]
    noun: str
    format: str = ""
    without: bytes = b""
    """Bytes that its names cannot have."""
    longest: int = 4000
    at_once: bool = False
    """Whether even info must open the file."""


def _qcow2(name: bytes) -> Blob:
    return qcow2.image(backing=name, extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"raw"), l2=())


def _data(name: bytes) -> Blob:
    return qcow2.image(extensions=qcow2.extension(qcow2.DATA_FILE, name), incompatible=qcow2.EXTERNAL)


def _data_raw(name: bytes) -> Blob:
    return qcow2.image(extensions=qcow2.extension(qcow2.DATA_FILE, name), incompatible=qcow2.EXTERNAL, autoclear=2)


def _vhdx(name: bytes) -> Blob:
    return vhdx.image(parent=vhdx.parent(name.decode("utf-8", "surrogateescape")))


def _vhdx_absolute(name: bytes) -> Blob:
    return vhdx.image(parent=vhdx.parent(name.decode("utf-8", "surrogateescape"), "absolute_win32_path"))


def _vpc(code: bytes) -> Callable[[bytes], Blob]:
    def build(name: bytes) -> Blob:
        stored = b"file://" + name if code == b"MacX" else name.decode().encode("utf-16-le")
        return vpc.dynamic(names=[(code, stored)], type=vpc.DIFFERENCING, parent_identity=bytes(range(16)))

    return build


NAMES_OF = (("instar",), ("qemu-img",))
TEXT = b'"\n\r\0'
CARRIERS = (
    Carrier("qcow2 backing", _qcow2, "backing file", "raw", longest=1023),
    Carrier("qcow2 backing undeclared", lambda name: qcow2.image(backing=name), "backing file", longest=1023),
    Carrier("qcow2 data", _data, "data file"),
    Carrier("qcow2 raw data", _data_raw, "data file"),
    Carrier("qcow backing", lambda name: qcow.image(backing=name), "backing file", longest=1023),
    Carrier("qed backing", lambda name: qed.image(backing=name, features=5), "backing file", "raw"),
    Carrier("qed backing undeclared", lambda name: qed.image(backing=name), "backing file"),
    Carrier("vmdk flat", lambda name: vmdk.text(b'RW 2048 FLAT "' + name + b'" 0'), "extent", "", TEXT, at_once=True),
    Carrier(
        "vmdk sparse",
        lambda name: vmdk.text(b'RW 2048 SPARSE "' + name + b'"', kind="twoGbMaxExtentSparse"),
        "extent",
        "",
        TEXT,
        at_once=True,
    ),
    Carrier(
        "vmdk vmfs",
        lambda name: vmdk.text(b'RW 2048 VMFS "' + name + b'"', kind="vmfs"),
        "extent",
        "",
        TEXT,
        at_once=True,
    ),
    Carrier(
        "vmdk embedded parent",
        lambda name: vmdk.sparse(
            descriptor=vmdk.text('RW 2048 SPARSE "x"', kind="monolithicSparse", parent=name, parent_cid="fffffffe")
        ),
        "backing file",
        "vmdk",
        TEXT,
    ),
    Carrier("vhdx parent", _vhdx, "backing file", "vhdx", b"\xff"),
    Carrier("vhdx absolute parent", _vhdx_absolute, "backing file", "vhdx", b"\xff"),
    Carrier("vpc relative", _vpc(b"W2ru"), "backing file", "vpc", b"\xff"),
    Carrier("vpc absolute", _vpc(b"W2ku"), "backing file", "vpc", b"\xff"),
    Carrier("vpc url", _vpc(b"MacX"), "backing file", "vpc", b"%"),
)
SHORTENED = ("vpc relative", "vpc absolute", "vpc url")
"""Carriers that take ./ off the beginning of a name."""


def cases() -> Iterator[Case]:
    """Every pair that can be."""
    for carrier in CARRIERS:
        for name in NAMES:
            probe = name.name(Place("", ""))
            if not any(byte in carrier.without for byte in probe) and len(probe) <= carrier.longest:
                yield _case(carrier, name)


LOOKED_AT = ("absolute", "escape", "pipe", "json name", "line feed")
"""Names with which info is asked too, which need not open what it shows."""


def _case(carrier: Carrier, name: Name) -> Case:
    def files(place: Place) -> Mapping[str, File]:
        return {"x": carrier.build(name.name(place)), **dict(name.files)}

    asks = []
    line = _line(carrier, name)
    if name.key in LOOKED_AT:
        asks.append(ask("info", "x", 1, line) if carrier.at_once else ask("info", "x", 0))
    asks.append(ask("convert", "x", 1 if line else 0, line)._replace(names=NAMES_OF[len(line) % 2]))
    opened = (name.reads,) if name.reads and carrier.format else ()
    return Case(
        f"{carrier.key}: {name.key}",
        f"{carrier.key} is a name of the kind {name.key}",
        name.source,
        files,
        tuple(asks),
        opened,
    )


def printed(name: bytes) -> str:
    """The name as people are shown it: what a terminal might obey is spelled out."""
    made = []
    for letter in name.decode("utf-8", "surrogateescape"):
        number = ord(letter) - 0xDC00 if 0xDC80 <= ord(letter) < 0xDCA0 else ord(letter)
        if number < 32 or 127 <= number < 160:
            made.append(f"\\x{number:02x}")
        else:
            made.append(f"\\u{number:04x}" if 0x202A <= number <= 0x202E else letter)
    return "".join(made)


def _line(carrier: Carrier, name: Name) -> str:
    """The refusal, empty where there is none."""
    text = printed(name.name(Place("/{vm}", "/{outside}")))
    if carrier.key in SHORTENED:
        while text.startswith("./"):
            text = text[2:]
    if carrier.noun != "backing file":
        if name.part == ITSELF and carrier.key != "vmdk sparse":
            return ""
        return "Could not open 'x': " + name.part.format(text=text, noun=carrier.noun, vm="/{vm}")
    told = name.backing
    if told == ALIKE and carrier.format == "raw":
        return ""
    if not carrier.format and told != PROTOCOL:
        told = "the format of the backing file '{text}' is not declared"
    told = told.format(text=text.removeprefix("file:"), noun=carrier.noun, format=carrier.format)
    return f"Could not open 'x': Could not open backing file: {told}"
