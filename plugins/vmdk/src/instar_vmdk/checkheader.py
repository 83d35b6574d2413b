"""What the header of a sparse extent says that does not fit, without making the image unreadable."""

from __future__ import annotations

from instar_core.types import Finding, Severity
from instar_vmdk.footer import front
from instar_vmdk.layout import COWD_MAGIC, COWD_UNCLEAN, HOSTED, HOSTED_MAGIC, NEWLINES, HeaderFlag, HostedHeader, Part
from instar_vmdk.sparse import header_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source


def header_notes(source: Source, part: Part, *, writable: bool) -> Iterator[Finding]:
    """Notes on the header of `part`, whose file is `source`. What can be mended is repairable if it is `writable`."""
    magic = source.read(0, 4, pad=True)
    where = f"of the extent at sector {part.start // 512}"
    if magic == COWD_MAGIC and any(source.read(COWD_UNCLEAN, 4, pad=True)):
        yield Finding(Severity.NOTE, f"The file {where} was not closed", offset=COWD_UNCLEAN)
    if magic != HOSTED_MAGIC:
        return
    header = header_of(source)
    if unclean(source):
        yield Finding(Severity.NOTE, f"The file {where} was not closed", offset=72, repairable=writable)
    if front(source) is not None:
        yield Finding(Severity.NOTE, f"Header and footer {where} differ", offset=0, repairable=writable)
    if header.flags & HeaderFlag.NEWLINES and header.newlines != NEWLINES:
        yield Finding(Severity.NOTE, f"The file {where} has passed through a transfer of text", offset=73)
    if bool(header.compress) != bool(header.flags & HeaderFlag.COMPRESSED):
        yield Finding(Severity.NOTE, f"Flags and algorithm of compression {where} contradict each other", offset=77)


def unclean(source: Source) -> bool:
    """Whether the first sector of a hosted extent says that the file was not closed."""
    return bool(HostedHeader._make(source.unpack(HOSTED, 0, pad=True)).unclean)
