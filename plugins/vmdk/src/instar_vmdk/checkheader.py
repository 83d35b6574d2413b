"""What the header of a sparse extent says that does not fit, without making the image unreadable."""

from __future__ import annotations

from instar_core.types import Finding, Severity
from instar_vmdk.layout import COWD_MAGIC, COWD_UNCLEAN, HOSTED_MAGIC, NEWLINES, HeaderFlag, Part
from instar_vmdk.sparse import header_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source


def header_notes(source: Source, part: Part) -> Iterator[Finding]:
    """Notes on the header of `part`, whose file is `source`."""
    magic = source.read(0, 4, pad=True)
    where = f"of the extent at sector {part.start // 512}"
    if magic == COWD_MAGIC and any(source.read(COWD_UNCLEAN, 4, pad=True)):
        yield Finding(Severity.NOTE, f"The file {where} was not closed", offset=COWD_UNCLEAN)
    if magic != HOSTED_MAGIC:
        return
    header = header_of(source)
    if header.unclean:
        yield Finding(Severity.NOTE, f"The file {where} was not closed", offset=72)
    if header.flags & HeaderFlag.NEWLINES and header.newlines != NEWLINES:
        yield Finding(Severity.NOTE, f"The file {where} has passed through a transfer of text", offset=73)
    if bool(header.compress) != bool(header.flags & HeaderFlag.COMPRESSED):
        yield Finding(Severity.NOTE, f"Flags and algorithm of compression {where} contradict each other", offset=77)
