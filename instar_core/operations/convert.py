"""convert: the content of one or several images, as a new image."""

from __future__ import annotations

import os

from instar_core import chain as chains
from instar_core import existing, merge, stretches
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.making import Order, describe_backing, open_target
from instar_core.operations import layers
from instar_core.results import Progress
from instar_core.settings import DEFAULTS
from instar_core.target import Target
from instar_core.types import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from instar_core.chain import Member
    from instar_core.options import Value
    from instar_core.piece import Piece
    from instar_core.session import Dialogue
    from instar_core.settings import Settings
    from instar_core.types import Layer

SPARSE = 4096


class Source:
    """The disks that are converted: open chains with the layer that is meant of each."""

    def __init__(self) -> None:
        self.tops: list[tuple[Member, Layer]] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        for top, _layer in self.tops:
            top.close()

    @property
    def size(self) -> int:
        """Bytes of all disks together."""
        return sum(merge.layer_size(top, layer) for top, layer in self.tops)


def convert(
    sources: Sequence[str],
    target: str,
    *,
    source_format: str | None = None,
    target_format: str = "raw",
    options: Mapping[str, str] | None = None,
    compress: bool = False,
    snapshot: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    backing: str | None = None,
    backing_format: str | None = None,
    create: bool = True,
    target_is_zero: bool = False,
    sparse: int = SPARSE,
    source_cache: str = "writeback",
    target_cache: str = "unsafe",
    copy_offload: bool = False,
    parallel: int = 8,
    out_of_order: bool = False,
    salvage: bool = False,
    rate: int = 0,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """The image at `target` holds the content of the sources, one behind the other.

    `snapshot` chooses an internal snapshot of the (only) source; `open_options` are those with which the format of the
    sources opens them. With `backing`, only what the source's top image
    itself holds is written, over that backing file. Without `create` the target must be there, large enough.
    `sparse` is the least run of zero bytes that is left out (0: none). `rate` bounds bytes per second. On failure no
    half-written image remains: a file made by this call is removed, one that was there is left without a valid
    header. Raises InstarError.
    """
    target = chains.plain(target)
    order = Order(target, target_format, options or {}, settings)
    order.compress = compress
    if compress and Capability.COMPRESS not in order.spec.capabilities:
        raise InstarError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    with Source() as source:
        for path in sources:
            top = chains.open_chain(path, settings, "map", format=source_format, options=open_options)
            source.tops.append((top, layers.chosen(top, snapshot)))
        size = int(order.values.get("size") or 0) or source.size
        _refuse_self(source, target)
        if not create:
            size = existing.adopt(order, source.size)
        over = backing is not None or (create and order.values.get("backing_file") is not None)
        _take_backing(order, backing, backing_format if create else order.values.get("backing_fmt"), source, create)
        with order.session() as session, Target(target) as files:
            dialogue = order.dialogue(session, size)
            open_target(files, order, dialogue, create=create)
            _fill(
                source,
                _content(source, dialogue, over),
                files,
                dialogue,
                order,
                sparse,
                _fresh(files, order, create, target_is_zero),
                not create and order.spec.name == "raw",
                target_cache,
                copy_offload,
                rate,
                progress,
                cancelled,
                _salvaging(warn) if salvage else None,
            )
            files.commit()


def _refuse_self(source: Source, target: str) -> None:
    try:
        facts = os.stat(target)
    except OSError:
        return
    for top, _layer in source.tops:
        for member in top.members():
            if any(device.identity == (facts.st_dev, facts.st_ino) for device in member.devices):
                raise UsageError(f"'{target}' is one of the files that are converted", path=target)


def _take_backing(order: Order, backing: str | None, backing_format: Value, source: Source, create: bool) -> None:
    if backing is not None and backing_format is None and create:
        raise UsageError("Use of backing file requires explicit backing format")
    order.take_backing(backing, None if backing_format is None else str(backing_format))
    stored = order.values.get("backing_file")
    if stored is None:
        if order.values.get("backing_fmt") is not None:
            raise UsageError("Backing format cannot be used without backing file", path=order.path)
        return
    if len(source.tops) > 1:
        raise UsageError("Having a backing file for the target makes no sense when concatenating multiple input images")
    where = chains.resolve(os.fsencode(str(stored)), order.path)
    declared = order.values.get("backing_fmt")
    settings = order.settings._replace(unsafe_quirks=True)
    with chains.open_member(
        where, settings, "info", format=None if declared is None else str(declared), whole=False
    ) as member:
        order.backing = describe_backing(member, str(stored), str(declared) if declared else member.format)


def _fresh(files: Target, order: Order, create: bool, target_is_zero: bool) -> bool:
    """Whether the target reads as zeros all over."""
    kept = bool(order.values.get("keep_data_file")) or (not create and order.spec.name == "raw")
    held = kept or any(file.block for file in files.files)
    return target_is_zero or not held


def _fill(
    source: Source,
    content: Iterator[Piece],
    files: Target,
    dialogue: Dialogue,
    order: Order,
    sparse: int,
    fresh: bool,
    into: bool,
    target_cache: str,
    copy_offload: bool,
    rate: int,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
    salvage: Callable[[int, str], None] | None,
) -> None:
    """Into: the target is a disk of which only the content's part changes."""
    from instar_core.dataplane.fill import fill

    total = source.size
    if progress is not None:
        progress(Progress("convert", 0, total))

    def step(done: int) -> None:
        if progress is not None:
            progress(Progress("convert", done, total))

    fill(
        content,
        dialogue.geometry,
        (lambda runs: existing.content_only(dialogue.converse(runs))) if into else dialogue.converse,
        (lambda: existing.content_only(dialogue.finish())) if into else dialogue.finish,
        files.descriptors,
        sparse=sparse,
        fresh=fresh,
        copy_range=copy_offload,
        progress=step,
        cancelled=cancelled or _never,
        rate=rate,
        durable=target_cache not in ("unsafe",),
        direct=target_cache in ("none", "directsync"),
        sandbox=order.settings.sandbox,
        guarded=bool(order.settings.keyring),
        salvage=salvage,
    )
    if progress is not None:
        progress(Progress("convert", total, total))


def _content(source: Source, dialogue: Dialogue, over: bool) -> Iterator[Piece]:
    """What is to be written: everything, or `over` a backing file only what the source's top image itself holds."""
    if over:
        top, layer = source.tops[0]
        return stretches.own(top, layer, dialogue.geometry.unit)
    return stretches.concatenated(source.tops)


def _salvaging(warn: Callable[[str], None] | None) -> Callable[[int, str], None]:
    def told(place: int, why: str) -> None:
        if warn is not None:
            warn(f"error while reading offset {place}: {why}")

    return told


def _never() -> bool:
    return False
