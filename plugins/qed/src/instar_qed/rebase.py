"""Another backing file, or none, for an image that is there. Source: docs/interop/qed_spec.rst of QEMU, "Header"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_qed import layout, limits
from instar_qed.header import read_header
from instar_qed.writable import begun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.source import Image
    from instar_core.types import Edit, Rebase
    from instar_qed.header import Header


def rebased(image: Image, request: Rebase) -> Iterator[Edit]:
    """The header names the file of the request, or none, from one write of its sector on.

    A name that reaches past the first sector is put where the old one does not lie before. Raises FormatError where
    there is no room for both.
    """
    header = read_header(image.main)
    yield from begun(header)
    name = _name(request.backing or {})
    raw = bool(name) and (request.backing or {}).get("format") == "raw"
    begin = image.main.read(0, layout.SECTOR, pad=True)
    old = layout.HEADER.unpack_from(begin)
    features = old[4] & ~(layout.BACKING_FILE | layout.BACKING_FORMAT_NO_PROBE)
    if name:
        features |= layout.BACKING_FILE | (layout.BACKING_FORMAT_NO_PROBE if raw else 0)
    place = _place(header, len(name), old[9], old[10] if header.features & layout.BACKING_FILE else 0)
    if place + len(name) > layout.SECTOR:
        yield Put(place, name)
        yield Barrier()
    fields = layout.HEADER.pack(*old[:4], features, *old[5:9], place if name else 0, len(name))
    if name and place + len(name) <= layout.SECTOR:
        fields += begin[len(fields) : place] + name
    yield Put(0, fields)
    yield Barrier()


def _place(header: Header, length: int, old: int, old_length: int) -> int:
    """Where a name of this length is put: behind the header, in its sector if it can be, else clear of the old one."""
    first, last = layout.HEADER.size, header.first_byte
    if first + length <= min(layout.SECTOR, max(first, last)):
        return first
    if length <= limits.BACKING_NAME:
        for place in (first, old + old_length):
            apart = place + length <= old or old + old_length <= place or not old_length
            if apart and first <= place and place + length <= last:
                return place
    raise FormatError("QED header has no room for the name of the backing file", kind=ErrorKind.USAGE)


def _name(backing: Mapping[str, Any]) -> bytes:
    value = backing.get("name") or b""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
