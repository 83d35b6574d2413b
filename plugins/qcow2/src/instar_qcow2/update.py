"""Writing content into an image that is there, in place."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Coding, Geometry, Kind
from instar_qcow2 import layout
from instar_qcow2.dirty_ranges import DirtyRanges
from instar_qcow2.encryption import image_coding
from instar_qcow2.header import read_header
from instar_qcow2.inplace import InPlace
from instar_qcow2.inplace_compressed import Packing
from instar_qcow2.inplace_content import Content
from instar_qcow2.level2 import has_compressed
from instar_qcow2.rehead import rewriting
from instar_qcow2.shadow import KEPT
from instar_qcow2.snapshot_edit import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_qcow2.header import Header


def update(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are in the image; snapshots and all else of it are as before.

    A stop at any point leaves each cluster old or new, and at most leaked clusters. Bitmaps that track changes never
    say too little. Raises FormatError.
    """
    source = image.main
    header = read_header(source)
    refuse(header)
    yield geometry(source, header, compress=request.compress)
    state = InPlace(source, header)
    content = Content(state)
    packing = Packing(state, content)
    tracked = DirtyRanges(state)
    stored = header.version < 3 and (request.opaque or header.backing_file is not None)
    begun = False
    for run in runs:
        if not begun:
            begun = True
            yield from autoclear(source, header)
        for part in tracked.cut(run):
            yield from tracked.note(part.start, part.length)
            if part.coding:
                yield from packing.write(part)
            elif part.kind == Kind.DATA or stored:
                yield from content.data(part.start, part.length)
            else:
                yield from content.zeros(part.start, part.length)
            if state.full:
                yield from state.flush()
    if begun:
        yield from tracked.finish()
        yield from state.finish()


def geometry(source: Source, header: Header, *, compress: bool) -> Geometry:
    """How the runs are wanted: by clusters, or by subclusters where the rest of a cluster never has to be read."""
    size = header.cluster_size
    cipher = image_coding(source, header)
    coding = None
    if compress:
        if header.data_file:
            raise FormatError("Compression is not supported for images with a data file", kind=ErrorKind.UNSUPPORTED)
        if cipher is not None:
            raise FormatError("Compression is not supported for encrypted images", kind=ErrorKind.UNSUPPORTED)
        zstd = header.compression_type == layout.COMPRESSION_ZSTD
        coding = Coding("zstd" if zstd else "deflate-12", size)
    unit = size
    l1 = header.l1_table_offset, header.l1_size
    if header.extended_l2 and cipher is None and not compress and not has_compressed(source, header, *l1):
        unit = size // layout.SUBCLUSTERS
    disk = header.disk_size
    if cipher is not None and not header.data_file:
        # The rest of the last cluster is written too: left alone, it would not read as zeros when the disk grows.
        disk += -disk % size
    return Geometry(unit, disk, zeros=True, coding=coding, cipher=cipher)


def autoclear(source: Source, header: Header) -> Iterator[Edit]:
    """Autoclear features that are not kept up here are not said to hold any more."""
    kept = header.autoclear_features & KEPT
    if header.autoclear_features != kept:
        yield from rewriting(source, header, fields={"autoclear_features": kept}).edits()
