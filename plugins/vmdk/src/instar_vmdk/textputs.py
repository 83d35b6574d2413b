"""Putting a changed descriptor in the place of the old one, such that at any moment one of the two is there.

Inside a sparse file the header says where the text is: a new one is put behind all else, one write of the header makes
it the one that counts, and it moves back. A text that is a file of its own can only change in one sector, besides
lines that nothing depends on.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put, Truncate
from instar_vmdk import limits
from instar_vmdk.descriptor import ACCESS
from instar_vmdk.layout import GD_AT_END, HOSTED, HOSTED_MAGIC, SECTOR, HostedHeader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NamedTuple

    from instar_core.source import Source
    from instar_core.types import Edit
else:
    from instar_core.record import NamedTuple

FIELDS = 79
"""Bytes of a header before its padding."""
ESSENTIAL = (*ACCESS, b"CID", b"parentCID", b"createType", b"parentFileNameHint")


class Text(NamedTuple):
    """A descriptor: its text up to the first NUL, where it is, and how many bytes it has room for (0: a file)."""

    text: bytes
    place: int
    room: int


def read_text(main: Source) -> Text:
    """The descriptor of the image whose device 0 this is. Raises FormatError for an image that has none."""
    if main.read(0, 4, pad=True) == HOSTED_MAGIC:
        header = HostedHeader._make(main.unpack(HOSTED, 0, pad=True))
        place, room = header.descriptor_offset * SECTOR, header.descriptor_size * SECTOR
        if not 0 < place < main.size or not 0 < room <= limits.TEXT:
            raise FormatError("the image has no descriptor that could be changed", kind=ErrorKind.UNSUPPORTED)
        return Text(main.read(place, room, pad=True).partition(b"\0")[0], place, room)
    if main.size > limits.TEXT:
        raise FormatError("the descriptor is too long to be changed", kind=ErrorKind.LIMIT)
    return Text(main.read(0, main.size).partition(b"\0")[0], 0, 0)


def header_bytes(source: Source, **fields: Any) -> bytes:
    """The header in the first sector with these fields."""
    data = source.read(0, SECTOR)
    made = HostedHeader._make(HOSTED.unpack(data))._replace(**fields)
    return HOSTED.pack(*made)[:FIELDS] + data[FIELDS:]


def text_edits(source: Source, old: Text, new: bytes) -> Iterator[Edit]:
    """The descriptor of device 0 is the new one. Raises FormatError (UNSUPPORTED) where that cannot be done safely."""
    if old.room:
        yield from _inside(source, old, new)
    else:
        yield from _alone(source, new)


def swap(source: Source, old: Text, new: bytes, aside: int, **fields: Any) -> Iterator[Edit]:
    """The header has these fields and the text inside the file is the new one, both from one moment on.

    At `aside`, a multiple of SECTOR at which the file ends afterwards, the new text lies meanwhile.
    """
    data = _fitting(old, new)
    yield Put(aside, data)
    yield Barrier()
    yield Put(0, header_bytes(source, descriptor_offset=aside // SECTOR, **fields))
    yield Barrier()
    yield Put(old.place, data)
    yield Barrier()
    yield Put(0, header_bytes(source, descriptor_offset=old.place // SECTOR, **fields))
    yield Barrier()
    yield Truncate(aside)
    yield Barrier()


def _fitting(old: Text, new: bytes) -> bytes:
    if len(new) > old.room:
        raise FormatError("the descriptor has no room for the change", kind=ErrorKind.UNSUPPORTED)
    return new.ljust(old.room, b"\0")


def _inside(source: Source, old: Text, new: bytes) -> Iterator[Edit]:
    before, after = old.text.ljust(old.room, b"\0"), _fitting(old, new)
    changed = _sectors(before, after)
    if len(changed) > 1:
        if HostedHeader._make(source.unpack(HOSTED, 0)).gd_offset == GD_AT_END:
            raise FormatError("a stream-optimized image cannot be changed so", kind=ErrorKind.UNSUPPORTED)
        yield from swap(source, old, new, -(-source.size // SECTOR) * SECTOR)
        return
    for at in changed:
        yield Put(old.place + at, after[at : at + SECTOR])
    yield Barrier()


def _alone(source: Source, new: bytes) -> Iterator[Edit]:
    have = source.read(0, source.size)
    after = new.ljust(len(have), b"\n")
    changed = _sectors(have, after)
    if not changed:
        return
    first, rest = changed[0], changed[1:]
    if rest:
        if _needed(have, first + SECTOR) or _needed(after, first + SECTOR):
            raise FormatError(
                "the descriptor would change in more than one sector, which cannot be done safely",
                kind=ErrorKind.UNSUPPORTED,
            )
        yield Put(first + SECTOR, after[first + SECTOR :])
        yield Barrier()
    yield Put(first, after[first : first + SECTOR])
    yield Barrier()
    if len(new) < len(after):
        yield Truncate(len(new))
        yield Barrier()


def _sectors(one: bytes, other: bytes) -> list[int]:
    """Where the sectors begin that differ."""
    return [at for at in range(0, len(other), SECTOR) if one[at : at + SECTOR] != other[at : at + SECTOR]]


def _needed(text: bytes, start: int) -> bool:
    """Whether a line that counts goes on, or begins, from here on."""
    begin = text.rfind(b"\n", 0, start) + 1
    return any(line.strip().startswith(ESSENTIAL) for line in text[begin:].split(b"\n"))
