"""The two headers of a stream-optimised file: the first sector, and the footer, which counts."""

from __future__ import annotations

from instar_vmdk.layout import GD_AT_END, HOSTED, HOSTED_MAGIC, SECTOR, HeaderFlag, HostedHeader
from instar_vmdk.mending import within
from instar_vmdk.sparse import footer_of
from instar_vmdk.textputs import FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source


def front(source: Source) -> bytes | None:
    """What the first sector ought to be by the footer, None where it is that, or where nothing is known.

    A header that leads to the footer must agree with it; one that says where the grain directory is, though none is
    there, is held to have led to the footer. Whether the file was closed is the header's own to say.
    """
    data = source.read(0, SECTOR, pad=True)
    header = HostedHeader._make(HOSTED.unpack(data))
    if header.magic != HOSTED_MAGIC or not header.flags & HeaderFlag.MARKERS:
        return None
    footer = footer_of(source)
    if footer is None or not within(source, footer.gd_offset * SECTOR, 4):
        return None
    if header.gd_offset not in (GD_AT_END, footer.gd_offset) and within(source, header.gd_offset * SECTOR, 4):
        return None
    leads = GD_AT_END if header.gd_offset != footer.gd_offset else header.gd_offset
    made = HOSTED.pack(*footer._replace(gd_offset=leads, unclean=header.unclean))[:FIELDS] + data[FIELDS:]
    return None if made == data else made
