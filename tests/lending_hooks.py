"""The hooks of a format whose pieces nobody else can decode. Its header says how they are coded, and how large.

Layout: magic, coding (16 bytes, padded with spaces), number of pieces, bytes of each as stored; then the pieces.
"""

from __future__ import annotations

import bz2
from struct import Struct

from instar_core.errors import ErrorKind, FormatError, NotInstalled
from instar_core.hookspecs import hookimpl
from instar_core.types import Coding, Extent, ImageInfo, Kind, Match

HEADER, UNIT = Struct("<8s16sII"), 4096
MAGIC = b"LENDING\n"


def _header(image):
    _, name, count, stored = image.main.unpack(HEADER, 0)
    return name.decode().strip(), count, stored


@hookimpl
def instar_probe(view):
    return Match("lending") if view.head.startswith(MAGIC) else None


@hookimpl
def instar_info(image):
    name, count, _ = _header(image)
    claimed = {"name": name, "plugin": ("qcow2", "os:system")}
    return ImageInfo("lending", count * UNIT, codings=(Coding(name, UNIT, name != "sectors", claimed),))


@hookimpl
def instar_map(image, span):
    _, _, stored = _header(image)
    at, end = span.start, span.start + span.length
    while at < end:
        length = min(UNIT - at % UNIT, end - at)
        place = HEADER.size + at // UNIT * stored
        yield Extent(at, length, Kind.DATA, 0, place, stored, 1, at % UNIT)
        at += length


@hookimpl
def instar_decode(params, stored):
    name = params["name"]
    assert set(params) == {"name"} and type(stored) is bytes
    if name == "bzip2":
        return bz2.decompress(stored)
    if name == "backwards":
        return stored[::-1]
    if name == "longer":
        return bytes(UNIT + 1)
    if name == "shorter":
        return bytes(UNIT - 1)
    if name == "text":
        return "text"
    if name == "broken":
        raise FormatError("the piece\nis broken", kind=ErrorKind.CORRUPT)
    if name == "opening":
        open("/etc/passwd").close()
    try:
        import no_such_library_at_all
    except ImportError:
        raise NotInstalled("lending needs no_such_library_at_all", hint="install it\n") from None
    return no_such_library_at_all.decode(stored)
