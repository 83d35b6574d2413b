"""What of an extent's file can be mended, and what nobody needs at its end."""

from __future__ import annotations

from instar_vmdk.grainputs import used_end
from instar_vmdk.layout import HOSTED_MAGIC
from instar_vmdk.mending import Copies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source
    from instar_vmdk.layout import Part


def mendable(source: Source, part: Part) -> bool:
    """Whether the extent is a hosted sparse one that may be written."""
    return part.sparse is not None and part.access == "RW" and source.read(0, 4, pad=True) == HOSTED_MAGIC


def unused(source: Source, part: Part) -> int:
    """Bytes at the end of the file, at least a grain of them, to which nothing refers; 0 where that is not certain."""
    sparse = part.sparse
    if sparse is None or sparse.compressed or not Copies(source, sparse).alike:
        return 0
    end = used_end(source, sparse, -(-sparse.capacity // sparse.grain))
    end = -(-end // sparse.grain) * sparse.grain
    return source.size - end if source.size - end >= sparse.grain else 0
