"""Compressed clusters written into an image as it is, packed one after another.

Source: docs/interop/qcow2.txt of QEMU, "Compressed Clusters Descriptor".
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Copy
from instar_qcow2 import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Run
    from instar_qcow2.inplace import InPlace
    from instar_qcow2.inplace_content import Content


class Packing:
    """`_tail` is the byte after the last compressed cluster, None unless that leaves room in its host cluster."""

    __slots__ = ("_content", "_image", "_tail")

    def __init__(self, image: InPlace, content: Content) -> None:
        self._image, self._content = image, content
        self._tail: int | None = None

    def write(self, run: Run) -> Iterator[Copy]:
        """The cluster at run.start is stored as run.stored compressed bytes."""
        header = self._image.header
        bits, size = header.cluster_bits, header.cluster_size
        if not 0 < run.stored <= size or run.start & size - 1 or run.length > size:
            raise ValueError(f"a compressed run of {run.stored} bytes at {run.start} is not a cluster's")
        at = self._place(run.stored)
        end = at + run.stored
        field = layout.compressed_field_bits(bits)
        if end > 1 << field:
            raise FormatError("The image is too large for compressed clusters of this size", kind=ErrorKind.LIMIT)
        self._tail = end if end & size - 1 else None
        cluster = run.start >> bits
        table = self._content.forget(cluster)
        sectors = (end - 1 >> 9) - (at >> 9)
        self._content.set(table, cluster, 1, layout.COMPRESSED | sectors << field | at, 0, 0)
        yield Copy(run.start, at, run.stored)

    def _place(self, stored: int) -> int:
        """Where that many bytes go: behind the last ones where their host cluster, or the one after it, has room."""
        clusters, bits = self._image.clusters, self._image.header.cluster_bits
        size, tail = 1 << bits, self._tail
        if tail is not None and clusters[tail >> bits] < clusters.most:
            room = size - (tail & size - 1)
            fresh = clusters.take(1) if stored > room else -1
            if fresh in (-1, tail + room):
                clusters.refer(tail >> bits, 1, 1)
                return tail
            return fresh
        return clusters.take(1)
