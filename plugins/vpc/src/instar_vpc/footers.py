"""Which footer counts: there is one at the end of every file, and a copy in front of those that are not fixed.

qemu looks at the one in front, and at the other only where there is none. Here the copy that is sound stands in for
one that is damaged, as the specification wants, and two that contradict each other are refused: the first sector of a
fixed disk is the guest's, who could write a footer there.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vpc.layout import COOKIE, FOOTER, FOOTER_CHECKSUM, OLD_FOOTER, SECTOR, DiskType, Footer, checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple

WRONG_CHECKSUM = "Incorrect header checksum"
CONTRADICTION = "the footer says that the disk is fixed, its first sector that it is not"


class Copy(NamedTuple):
    """A footer that was found at `place`; `sound` where its checksum is right."""

    place: int
    data: bytes
    footer: Footer
    sound: bool


class Footers(NamedTuple):
    """The footer that counts, and what was found in front and at the end (None where no cookie is)."""

    main: Copy
    head: Copy | None
    tail: Copy | None


def find(source: Source, *, lenient: bool = False) -> Footers:
    """The footers of a file. With `lenient` also one with a wrong checksum, or contradicted by the other, counts.

    Raises FormatError, in qemu's words, where none counts.
    """
    head = _at(source, 0)
    tail = _tail(source)
    if head is None and tail is None:
        if not source.size:
            raise FormatError("File too small for a VHD header", kind=ErrorKind.TRUNCATED)
        raise FormatError("invalid VPC image", offset=0)
    return Footers(_main(source, head, tail, lenient), head, tail)


def _main(source: Source, head: Copy | None, tail: Copy | None, lenient: bool) -> Copy:
    fixed = tail is not None and tail.sound and tail.footer.disk_type == DiskType.FIXED
    if head is not None and head.sound and head.footer.disk_type != DiskType.FIXED:
        if fixed and not lenient:
            raise FormatError(CONTRADICTION, kind=ErrorKind.CORRUPT, offset=0)
        return head
    if tail is not None and tail.sound:
        return tail
    if head is not None and head.sound:
        if source.size <= FOOTER.size:
            return head
        raise FormatError("invalid VPC image", offset=0)
    found = head or tail
    if found is None or not lenient:
        raise FormatError(WRONG_CHECKSUM, kind=ErrorKind.CORRUPT, offset=found.place if found else 0)
    return found


def _tail(source: Source) -> Copy | None:
    """The footer at the end: in the last sector, in the last 511 bytes, or in the last sector that has begun."""
    found = None
    for place in (source.size - FOOTER.size, source.size - OLD_FOOTER, (source.size - 1) // SECTOR * SECTOR):
        if place > 0:
            made = _at(source, place)
            if made is not None and made.sound:
                return made
            found = found or made
    return found


def _at(source: Source, place: int) -> Copy | None:
    data = source.read(place, FOOTER.size, pad=True)
    if not data.startswith(COOKIE):
        return None
    footer = Footer._make(FOOTER.unpack(data))
    return Copy(place, data, footer, checksum(data, FOOTER_CHECKSUM) == footer.checksum)
