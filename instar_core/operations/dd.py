"""dd: a part of an image's content, counted in blocks, as a new image or into one that is there, from or to a pipe."""

from __future__ import annotations

import os
from contextlib import contextmanager

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import merge, stretches
from instar_core.changing import Changing
from instar_core.completing import Rest
from instar_core.errors import InstarError, UsageError
from instar_core.making import Order, open_target
from instar_core.operations import layers
from instar_core.piece import Piece
from instar_core.settings import DEFAULTS
from instar_core.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings
    from instar_core.types import Layer

SECTOR = 512
READ = 2 << 20


class Part:
    """What is copied: `skip` bytes are left out, `size` is that of the result, of which `content` come from the input.
    All in bytes."""

    def __init__(
        self, available: int | None, block: int, count: int | None, skip: int, given: int | None, read: int | None
    ) -> None:
        """`available` is the input's size, None for a pipe; `given` the size asked for, `read` the input's part.

        Like qemu-img, the count is of blocks before any are skipped. Raises UsageError where no size is known.
        """
        whole = given if given is not None else available
        counted = None if count is None else count * block
        if whole is None:
            whole = counted if counted is not None else read
        if whole is None:
            raise UsageError("Output size must be known when the input is a pipe (osize=)")
        if counted is not None:
            whole = min(whole, counted)
        self.skip = skip * block
        self.beyond = self.skip > whole
        self.size = max(0, whole - self.skip)
        self.content = self.size if read is None else min(self.size, read)
        if available is not None:
            self.content = min(self.content, max(0, available - self.skip))

    @property
    def end(self) -> int:
        """The content, up to a whole sector."""
        return -(-self.content // SECTOR) * SECTOR


def dd(
    source: str | int,
    target: str | int,
    *,
    block: int = 512,
    count: int | None = None,
    skip: int = 0,
    size: int | None = None,
    source_size: int | None = None,
    source_format: str | None = None,
    target_format: str = "raw",
    snapshot: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    create: bool = True,
    settings: Settings = DEFAULTS,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """The image at `target` holds `count` blocks (of `block` bytes) of the source, less the first `skip` of them.

    A descriptor in place of a name is a pipe with a raw disk. `size` is the bytes of the result where that is not the
    source's, `source_size` those that are taken from it. Zeros are written like other content. Without `create` the
    target must be there and large enough, and keeps what the content does not reach. `warn` is told if there is nothing
    after what is skipped. On failure no half-written image remains. Raises InstarError.
    """
    if isinstance(target, int) and target_format != "raw":
        raise UsageError("Only a raw disk can be written to a pipe")
    if isinstance(source, int):
        from instar_core.dataplane.pipes import Spool

        part = Part(None, block, count, skip, size, source_size)
        with Spool(lambda length: os.read(source, length)) as spool:
            _place(spool.pieces(part.content, part.skip), part, target, target_format, create, settings, cancelled)
        _tell(part, "standard input", warn)
        return
    with chains.open_chain(source, settings, "map", format=source_format, options=open_options) as top:
        layer = layers.chosen(top, snapshot)
        part = Part(merge.layer_size(top, layer), block, count, skip, size, source_size)
        if not isinstance(target, int):
            _refuse_self(top, chains.plain(target))
        with _window(top, layer, part, settings) as pieces:
            _place(pieces, part, target, target_format, create, settings, cancelled)
        _tell(part, source, warn)


def _tell(part: Part, name: str, warn: Callable[[str], None] | None) -> None:
    if part.beyond and warn is not None:
        warn(f"{name}: cannot skip to specified offset")


def _refuse_self(top: Member, target: str) -> None:
    itself = devices.identity(target)
    if any(device.identity == itself for member in top.members() for device in member.devices):
        hint = f"'{target}' is one of the files that are copied"
        raise UsageError('Failed to get "write" lock', path=target, hint=hint)


@contextmanager
def _window(top: Member, layer: Layer, part: Part, settings: Settings) -> Iterator[Iterator[Piece]]:
    """The content as pieces from 0 on."""
    if not part.content:
        yield iter(())
        return
    if not (part.skip % SECTOR and top.info.encrypted):
        yield stretches.pieces(top, layer, part.skip, part.content, -part.skip)
        return
    # Ciphers work by sectors: content that starts within one passes through memory.
    from instar_core.dataplane.content import Content
    from instar_core.dataplane.pipes import Spool

    content = Content(
        lambda start, length: stretches.pieces(top, layer, start, length),
        sandbox=settings.sandbox,
        guarded=bool(settings.keyring),
    )
    at = part.skip

    def read(length: int) -> bytes:
        nonlocal at
        at += length
        return content.read(at - length, length)

    try:
        with Spool(read) as spool:
            yield spool.pieces(part.content)
    finally:
        content.close()


def _place(
    pieces: Iterator[Piece],
    part: Part,
    target: str | int,
    format: str,
    create: bool,
    settings: Settings,
    cancelled: Callable[[], bool] | None,
) -> None:
    """The pieces are where they belong."""
    if isinstance(target, int):
        _pour(pieces, part, target, settings, cancelled)
    elif create:
        _make(pieces, part, target, format, settings, cancelled)
    else:
        _write(pieces, part, target, format, settings, cancelled)


def _pour(
    pieces: Iterator[Piece], part: Part, target: int, settings: Settings, cancelled: Callable[[], bool] | None
) -> None:
    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.content import blocks
    from instar_core.dataplane.pipes import pour

    with CodecPool(settings.sandbox, guarded=bool(settings.keyring)) as pool:
        stream = blocks(pieces, pool, READ, 0, part.size)
        try:
            pour(stream, target, cancelled)
        finally:
            stream.close()


def _make(
    pieces: Iterator[Piece],
    part: Part,
    target: str,
    format: str,
    settings: Settings,
    cancelled: Callable[[], bool] | None,
) -> None:
    from instar_core.dataplane.fill import fill

    order = Order(chains.plain(target), format, {}, settings)
    order.fillable()
    order.require_content(part.size)
    with order.session() as session, Target(order.path) as files:
        dialogue = order.dialogue(session, part.size)
        open_target(files, order, dialogue)
        fill(
            _padded(pieces, part),
            dialogue.geometry,
            dialogue.converse,
            dialogue.finish,
            files.descriptors,
            sparse=0,
            fresh=not any(file.fixed for file in files.files),
            cancelled=cancelled,
            durable=False,
            sandbox=settings.sandbox,
            guarded=bool(settings.keyring),
        )
        files.commit()


def _padded(pieces: Iterator[Piece], part: Part) -> Iterator[Piece]:
    """The pieces, and zeros up to a whole sector."""
    yield from pieces
    if part.end > part.content:
        yield Piece(part.content, part.end - part.content, True)


def _write(
    pieces: Iterator[Piece],
    part: Part,
    target: str,
    format: str,
    settings: Settings,
    cancelled: Callable[[], bool] | None,
) -> None:
    with Changing(target, settings, format=format, foreseen="update") as image, Rest(image) as rest:
        if image.member.info.virtual_size < part.content:
            raise InstarError("output file is smaller than input file")
        image.update(lambda unit: rest.behind(pieces, part.content, unit), sparse=0, cancelled=cancelled)
