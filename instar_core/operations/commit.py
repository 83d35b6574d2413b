"""commit: what an image holds over one of the images below it is written into that one."""

from __future__ import annotations

import os
import time

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import registry, stretches, unlocking
from instar_core.changing import Changing
from instar_core.completing import Below, completed
from instar_core.errors import ErrorKind, FormatError, InstarError, UsageError
from instar_core.operations.resize import UNRESIZED_BY_QEMU, prepared
from instar_core.results import Progress
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Empty, Layer, Resize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NamedTuple

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.piece import Piece
    from instar_core.settings import Settings
else:
    from instar_core.record import NamedTuple

EMPTIED_BY_QEMU = frozenset({"qcow2", "qcow"})
"""Formats of which qemu-img leaves nothing in the image after its content was committed."""

SECTOR = 512
SPARSE = 64 << 10
"""Least run of zero bytes that is not written: shorter ones would only tear the base image into pieces."""


class Base(NamedTuple):
    """The image that content is committed to: which of the chain, and its file, open but not locked. `options` are
    those with which it and what lies below it are opened."""

    depth: int
    path: str
    format: str
    device: Device
    options: Mapping[str, Any]


def commit(
    path: str,
    *,
    base: str | None = None,
    drop: bool = False,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    cache: str = "writeback",
    rate: int = 0,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The image's backing image, or the one that `base` names further down its chain, reads as the image does.

    It grows if it is smaller than the image. What no image above it holds is not touched. Then the image holds nothing
    of its own any more, unless with `drop` or a `base`, or where its format cannot be emptied. Images between keep what
    they hold. `rate` bounds bytes per second. A stop at any point loses nothing: the image is emptied only when all is
    on stable storage below it. Raises InstarError, of kind UNSUPPORTED where the base image cannot be written.
    """
    with Changing(path, settings, format=format, options=open_options, cache=cache) as image:
        found = _find(image, base)
        try:
            below = _open(found, settings, cache)
        finally:
            found.device.close()
        with below:
            _cover(image, below, cancelled)
            _room(below, image.member.info.virtual_size, settings, cancelled)
            _write(image, below, found.depth, rate, progress, cancelled)
            settle(below)
        spec = registry.spec(image.member.format)
        kept = settings.as_qemu and image.member.format not in EMPTIED_BY_QEMU
        if not drop and base is None and not kept and Capability.EMPTY in spec.capabilities:
            image.apply(Empty(time.time_ns(), os.urandom(64)))


def _find(image: Changing, base: str | None) -> Base:
    """The image to commit to. Raises InstarError where there is none."""
    member = image.member
    alone = member.reference() is None or unlocking.BELOW in member.options
    if base is None and alone and not unlocking.below(member.options):
        raise UsageError("Image does not have a backing file")
    with image.chain() as top:
        members = top.members()
        for depth in range(1, len(members)):
            if base is None or _named(base, members[depth - 1], members[depth]):
                found = members[depth]
                return Base(depth, found.path, found.format, devices.reopen(found.devices[0]), found.options)
    raise UsageError(f"Did not find '{base}' in the backing chain of '{member.path}'")


def _named(name: str, above: Member, found: Member) -> bool:
    """Whether the name is that of an image: as the image above it names it, or a way to the same place from there."""
    reference = above.reference()
    if not name or reference is None:
        return False
    if name == os.fsdecode(reference.name):
        return True
    return os.path.realpath(chains.resolve(os.fsencode(name), above.path)) == os.path.realpath(found.path)


def _open(base: Base, settings: Settings, cache: str) -> Changing:
    """The base image, locked and ready to be changed."""
    if Capability.UPDATE not in registry.spec(base.format).capabilities:
        raise InstarError(
            f"the base image '{base.path}' cannot be written: it is {base.format}", kind=ErrorKind.UNSUPPORTED
        )
    try:
        return Changing(base.path, settings, format=base.format, options=base.options, cache=cache, device=base.device)
    except InstarError as error:
        error.path = None
        raise


def _cover(image: Changing, base: Changing, cancelled: Callable[[], bool] | None) -> None:
    """What the image reads as past the end of the base is its own, where a longer base would show something else there.

    That is what a key makes of a file's new bytes. The image has it until all of its content is in the base.
    """
    before, size = base.member.info.virtual_size, image.member.info.virtual_size
    if before >= size or not _ciphered(base.member, before):
        return
    with image.chain(base.held) as top:

        def pieces(unit: int) -> Iterator[Piece]:
            start = before // unit * unit
            lower = (piece for piece in stretches.pieces(top, start=start, length=size - start) if piece.depth)
            return completed(lower, unit, size, Below(top).between)

        image.update(pieces, cancelled=cancelled, keep=True, opaque=True)
    settle(image)
    image.afresh()


def _ciphered(member: Member, end: int) -> bool:
    """Whether the disk ends with content that is stored with a key: all of a LUKS volume is, written or not."""
    if not member.info.encrypted or not end:
        return False
    start = max(0, end - SECTOR)
    extents = list(member.session.map(member.format, member.info, Layer(), start, end - start))
    return any(extent.coding for extent in extents)


def _room(base: Changing, size: int, settings: Settings, cancelled: Callable[[], bool] | None) -> None:
    """As grow, in qemu-img's words where that cannot be."""
    try:
        grow(base, size, settings, cancelled)
    except InstarError as error:
        if error.kind == ErrorKind.UNSUPPORTED and (isinstance(error, FormatError) or error.path is None):
            error.message = "Block job failed: Operation not supported"
        raise


def grow(base: Changing, size: int, settings: Settings, cancelled: Callable[[], bool] | None) -> None:
    """The base image is at least as large as what is committed to it. Raises InstarError, of kind UNSUPPORTED where it
    cannot grow."""
    member = base.member
    before = member.info.virtual_size
    if before >= size:
        return
    hidden = settings.as_qemu and member.format in UNRESIZED_BY_QEMU
    if hidden or Capability.RESIZE not in registry.spec(member.format).capabilities:
        raise InstarError("Image format driver does not support resize", kind=ErrorKind.UNSUPPORTED)
    request = Resize(size, "off", time.time_ns(), os.urandom(64), None, keep=True)
    request = request._replace(below=prepared(base, before, cancelled, request))
    base.apply(request, cancelled=cancelled)
    base.afresh()


def _write(
    image: Changing,
    base: Changing,
    depth: int,
    rate: int,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """The base image holds what the images above it hold."""
    with image.chain(base.held) as top:
        members = top.members()
        if len(members) <= depth or members[depth].devices[0].identity not in base.held:
            raise InstarError("the backing chain was exchanged while it was opened", path=top.path)
        # From here on the upper images are a chain of their own: what they leave open is not touched.
        members[depth - 1].backing = None
        with members[depth] as lower:
            _merge(top, lower, base, depth, rate, progress, cancelled)


def _merge(
    top: Member,
    lower: Member,
    base: Changing,
    depth: int,
    rate: int,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    size = top.info.virtual_size

    def pieces(unit: int) -> Iterator[Piece]:
        upper = (piece for piece in stretches.pieces(top) if piece.depth < depth)
        return completed(upper, unit, base.member.info.virtual_size, Below(lower).between)

    def step(done: int) -> None:
        if progress is not None:
            progress(Progress("commit", min(done, size), size))

    step(0)
    base.update(
        pieces,
        sparse=SPARSE,
        progress=step,
        cancelled=cancelled,
        rate=rate,
        keep=True,
        copy_range=True,
    )
    step(size)


def settle(base: Changing) -> None:
    """All of the base image is on stable storage, unless nobody wants that."""
    if base.cache != "unsafe":
        from instar_core.dataplane.edits import flush

        flush(base.descriptors)
