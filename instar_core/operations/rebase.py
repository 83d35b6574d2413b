"""rebase: an image stands on another backing file, or on none, and reads as before."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from instar_core import chain as chains
from instar_core import registry, stretches
from instar_core.changing import SPARSE, Changing
from instar_core.errors import ErrorKind, FormatError, InstarError, UsageError
from instar_core.making import describe_backing
from instar_core.results import Progress
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Rebase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.piece import Piece
    from instar_core.settings import Settings

REBASED_BY_QEMU = frozenset({"qcow2", "qed"})
"""Formats whose backing file qemu-img changes."""


def rebase(
    path: str,
    backing: str | None,
    *,
    backing_format: str | None = None,
    unsafe: bool = False,
    compress: bool = False,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    cache: str = "writeback",
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The image at `path` names `backing` (a name as it is to be stored, relative to the image's folder) as its backing
    file, or none where that is None or empty, and reads as before.

    What would read differently is written into the image before, compressed with `compress`. With `unsafe` nothing is:
    neither the old chain nor the new one has to be there, and the image reads as they then make it read. A stop at any
    point leaves an image that reads as before, over the old chain or the new one, with at most leaked clusters.
    Raises InstarError, of kind UNSUPPORTED where the format cannot be rebased, UsageError where `backing_format` is
    missing.
    """
    foreseen = "rebase" if unsafe else ""
    with Changing(path, settings, format=format, options=open_options, cache=cache, foreseen=foreseen) as image:
        if backing_format is not None and not registry.known(backing_format):
            raise UsageError(f"Invalid format name: '{backing_format}'")
        _able(image, backing, backing_format, compress, unsafe, settings)
        if unsafe:
            described = _linked(image, backing, backing_format, settings) if backing else None
        else:
            described = _moved(image, backing, backing_format, compress, settings, progress, cancelled)
            image.afresh()
        with _named(backing):
            image.apply(Rebase(described, time.time_ns(), os.urandom(64)), cancelled=cancelled)


def unchanged(backing: str | None) -> str:
    """How a message begins that says why an image keeps its backing file."""
    return f"Could not change the backing file to '{'(null)' if backing is None else backing}'"


@contextmanager
def _named(backing: str | None) -> Iterator[None]:
    """What the format refuses says which backing file it is about."""
    try:
        yield
    except FormatError as error:
        error.message = f"{unchanged(backing)}: {error.message}"
        raise


def _plan(image: Changing, backing: str | None, described: dict[str, object] | None) -> None:
    """Raises FormatError where the image cannot name the backing file, before anything is copied for that."""
    with _named(backing):
        for _ in image.member.session.edits(image.member.format, Rebase(described, time.time_ns(), os.urandom(64))):
            continue


def _able(
    image: Changing, backing: str | None, format: str | None, compress: bool, unsafe: bool, settings: Settings
) -> None:
    """Raises InstarError where the format cannot do what is wanted."""
    member = image.member
    capabilities = registry.spec(member.format).capabilities
    if compress and Capability.COMPRESS not in capabilities:
        raise InstarError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    if settings.as_qemu and member.format == "parallels":
        raise InstarError("could not get block driver info", kind=ErrorKind.UNSUPPORTED)
    hidden = settings.as_qemu and member.format not in REBASED_BY_QEMU
    if hidden or Capability.REBASE not in capabilities:
        if backing and not unsafe:
            where = chains.resolve(os.fsencode(backing), member.path)
            _opened(where, backing, format, settings, image.held).close()
        if backing and format is None:
            raise _undeclared(backing)
        raise InstarError(f"{unchanged(backing)}: Operation not supported", kind=ErrorKind.UNSUPPORTED)


def _opened(path: str, backing: str, format: str | None, settings: Settings, held: Collection[Any] = ()) -> Member:
    """The chain that the image is to stand on. Raises InstarError."""
    try:
        return chains.open_chain(path, settings, "map", format=format, held=held)
    except InstarError as error:
        error.message = f"Could not open new backing file '{backing}': {error.message}"
        error.path = None
        raise


def _undeclared(backing: str) -> UsageError:
    return UsageError(f"{unchanged(backing)}: backing format must be specified")


def _linked(image: Changing, backing: str, format: str | None, settings: Settings) -> dict[str, object]:
    """The backing file as the image is to name it, looked at where that can be. Raises InstarError for a loop."""
    if format is None:
        raise _undeclared(backing)
    where = chains.resolve(os.fsencode(backing), image.member.path)
    looking = settings._replace(force_share=True)
    try:
        found = chains.open_chain(where, looking, "info", format=format, whole=False, shallow=True)
    except InstarError:  # nobody said that it must be readable
        return {"name": os.fsencode(backing), "format": format}
    with found:
        _refuse_loop(found, image, backing)
        return describe_backing(found, backing, format)


def _refuse_loop(chain: Member, image: Changing, backing: str) -> None:
    for member in chain.members():
        if any(device.identity in image.held for device in member.devices):
            raise UsageError(
                f"Could not open new backing file '{backing}': Backing file '{member.shown}' creates an infinite loop."
            )


def _moved(
    image: Changing,
    backing: str | None,
    format: str | None,
    compress: bool,
    settings: Settings,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> dict[str, object] | None:
    """The image holds itself what would read otherwise over the new backing file, which is described."""
    with image.chain() as old:
        if not backing:
            _plan(image, backing, None)
            if old.backing is None:  # it stands on nothing already
                return None
            _write(image, old, None, compress, settings, progress, cancelled)
            return None
        where = chains.resolve(os.fsencode(backing), old.path)
        with _opened(where, backing, format, settings, image.held) as new:
            _refuse_loop(new, image, backing)
            if format is None:
                raise _undeclared(backing)
            described = describe_backing(new, backing, format)
            _plan(image, backing, described)
            _write(image, old, new, compress, settings, progress, cancelled)
            return described


def _write(
    image: Changing,
    old: Member,
    new: Member | None,
    compress: bool,
    settings: Settings,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """The image holds what its old chain and the new one do not read the same."""
    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.differing import Bare, differing
    from instar_core.dataplane.pairing import stretches as paired

    size = old.info.virtual_size
    files = _files(old, new)
    bare = Bare()

    def below() -> Iterator[Piece]:
        if new is not None:
            yield from stretches.pieces(new, length=min(size, new.info.virtual_size))

    def pieces(unit: int) -> Iterator[Piece]:
        pairs = paired(stretches.pieces(old), below(), unit, size, lambda piece: files[piece.descriptor])
        return differing(pairs, unit, pool, bare)

    def step(done: int) -> None:
        if progress is not None:
            progress(Progress("rebase", done, size))

    step(0)
    with CodecPool(settings.sandbox, guarded=bool(settings.keyring)) as pool:
        image.update(
            pieces,
            compress=compress,
            sparse=SPARSE,
            progress=step,
            cancelled=cancelled,
            wanted=bare.clothed,
            keep=True,
            opaque=new is not None,
        )
    step(size)


def _files(*tops: Member | None) -> dict[int, Hashable]:
    """Which file each descriptor of the chains is open on."""
    return {
        device.descriptor: device.identity
        for top in tops
        if top is not None
        for member in top.members()
        for device in member.devices
    }
