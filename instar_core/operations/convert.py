"""convert: the content of one or several images, as a new image or into one that is there."""

from __future__ import annotations

import os

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import stretches
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.making import Order, describe_backing, open_target, require_folder, require_known_backing
from instar_core.operations import conversion
from instar_core.operations.conversion import How, Source
from instar_core.settings import DEFAULTS
from instar_core.target import Target
from instar_core.types import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from instar_core.bitmapcopy import Bitmaps
    from instar_core.piece import Piece
    from instar_core.results import Progress
    from instar_core.session import Dialogue
    from instar_core.settings import Settings

SPARSE = 4096


def convert(
    sources: Sequence[str],
    target: str,
    *,
    source_format: str | None = None,
    target_format: str | None = "raw",
    options: Mapping[str, str] | None = None,
    compress: bool = False,
    snapshot: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    each: Sequence[tuple[str | None, Mapping[str, Any] | None]] = (),
    target_options: Mapping[str, Any] | None = None,
    backing: str | None = None,
    backing_format: str | None = None,
    create: bool = True,
    target_is_zero: bool = False,
    sparse: int | None = None,
    source_cache: str = "writeback",
    target_cache: str = "unsafe",
    copy_offload: bool = False,
    parallel: int = 8,
    out_of_order: bool = False,
    salvage: bool = False,
    rate: int = 0,
    bitmaps: bool = False,
    skip_broken_bitmaps: bool = False,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
    skipped: Callable[[str], None] | None = None,
) -> None:
    """The image at `target` holds the content of the sources, one behind the other.

    `snapshot` chooses an internal snapshot of the (only) source; `open_options` are those with which the format of the
    sources opens them; `each` is format and options of each of the sources, where these differ. With `backing`, only
    what the source's top image itself holds is written, over that backing file. `sparse` is the least run of zero bytes
    that is left out (0: none); without it that is 4096, and where source and new image lie on a file system that can
    share extents they share them, without a look for zeros in what is shared. `rate` bounds bytes per second. With
    `bitmaps` the dirty bitmaps of the (only) source are copied too; with `skip_broken_bitmaps` without those that
    nobody may rely on, of which `skipped` is told by name.

    On failure no half-written image remains: a file made by this call is removed, one that was there is left without a
    valid header.

    Without `create` the target must be there, large enough, and keeps all that the content does not reach: the rest of
    its disk, its options, backing image, snapshots and bitmaps. `target_options` are those that open it; without a
    `target_format` it is probed. Any `backing` says that it stands on something, and nothing else. `target_is_zero`
    says that it reads as zeros. On failure it holds some of the content, and is sound.

    Raises InstarError.
    """
    target = chains.plain(target)
    how = How(
        SPARSE if sparse is None else sparse,
        target_cache,
        copy_offload,
        rate,
        progress,
        cancelled,
        conversion.salvaging(warn) if salvage else None,
        share=sparse is None,
    )
    order = None
    if not create:
        from instar_core.operations.convert_into import Into

        into = Into(
            target,
            target_format,
            target_options,
            settings,
            compress=compress,
            over=backing is not None,
            zero=target_is_zero,
        )
    else:
        order = Order(target, target_format or "raw", options or {}, settings)
        order.fillable()
        order.compress = compress
        if compress and Capability.COMPRESS not in order.spec.capabilities:
            raise InstarError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    with Source() as source, _Writer(order) as writer:
        alike = [(source_format, open_options)] * len(sources)
        for path, (format, opening) in zip(sources, each or alike, strict=True):
            source.take(path, settings, format=format, options=opening)
        source.choose(snapshot)
        if bitmaps:
            from instar_core.bitmapcopy import require_source

            require_source([top for top, _layer in source.tops])
        if order is None or writer.session is None:
            into.write(source, how, bitmaps=bitmaps, skip=skip_broken_bitmaps, skipped=skipped)
            return
        source.refuse(target, {devices.identity(target)})
        require_folder(order.path)
        reach = _take_backing(order, backing, backing_format, source)
        size = int(order.values.get("size") or 0) or source.size
        order.require_content(size)
        copies = _bitmaps(source, order, size, skip_broken_bitmaps) if bitmaps else None
        with Target(target) as files:
            dialogue = order.dialogue(writer.session, size)
            open_target(files, order, dialogue)
            conversion.fill(source, _content(source, reach, dialogue), files, dialogue, order, how)
            if copies is not None:
                copies.copy(files, settings, target_cache, skipped)
            files.commit()


class _Writer:
    """A context manager: the session of a new image's writer gets ready while the sources are opened."""

    def __init__(self, order: Order | None) -> None:
        self.session = None if order is None else order.session()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.session is not None:
            self.session.close()


def _bitmaps(source: Source, order: Order, size: int, skip: bool) -> Bitmaps:
    from instar_core.bitmapcopy import Bitmaps

    tops = [top for top, _layer in source.tops]
    return Bitmaps(tops, order.spec, order.values.get("compat"), size, skip=skip)


def _take_backing(order: Order, backing: str | None, backing_format: str | None, source: Source) -> int | None:
    """The bytes of the backing image's disk, None where there is none."""
    if backing is not None and backing_format is None:
        raise UsageError("Use of backing file requires explicit backing format")
    order.take_backing(backing, backing_format)
    stored = order.values.get("backing_file")
    require_known_backing(order)
    if stored is None:
        return None
    conversion.over(source.tops)
    where = chains.resolve(os.fsencode(str(stored)), order.path)
    declared = order.values.get("backing_fmt")
    settings = order.settings._replace(unsafe_quirks=True)
    try:
        with chains.open_member(
            where, settings, "info", format=None if declared is None else str(declared), whole=False
        ) as member:
            order.backing = describe_backing(member, str(stored), str(declared) if declared else member.format)
            return member.info.virtual_size
    except InstarError as error:
        error.message = f"Could not open '{order.path}': Could not open backing file: {error.message}"
        error.path = None
        raise


def _content(source: Source, reach: int | None, dialogue: Dialogue) -> Iterator[Piece]:
    """What is to be written: everything, or over a backing file, which has `reach` bytes, only what the source's top
    image itself holds."""
    if reach is None:
        return stretches.concatenated(source.tops)
    return stretches.own(*conversion.over(source.tops), dialogue.geometry.unit, reach)
