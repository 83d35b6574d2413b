"""snapshot: the internal snapshots of an image: listed, created, deleted, applied."""

from __future__ import annotations

import time

from instar_core import chain as chains
from instar_core import registry
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, InstarError
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, SnapshotEdit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.settings import Settings
    from instar_core.types import Snapshot

UNSUPPORTED = {
    "create": "Operation not supported",
    "delete": "snapshot not found",
    "apply": "Block driver does not support snapshots",
}
"""What is said of a format that has no snapshots."""


def list_(
    path: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> tuple[Snapshot, ...]:
    """The snapshots of the image at `path`, in the order of its table. The images below it must be there."""
    with chains.open_chain(path, settings, "map", format=format, options=open_options) as member:
        return member.info.snapshots


def create(
    path: str,
    name: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> None:
    """The image has a further snapshot of its active content, called `name`. A stop at any point leaves the old or the
    new state, with at most leaked clusters. Raises InstarError.
    """
    _change(path, "create", name, format, open_options, settings)


def delete(
    path: str,
    name: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> None:
    """The first snapshot called `name` is gone. A stop at any point leaves the old or the new state, with at most
    leaked clusters. Raises InstarError, of kind MISSING where there is none.
    """
    _change(path, "delete", name, format, open_options, settings)


def apply(
    path: str,
    name: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> None:
    """The active content of the image is that of the first snapshot with the id `name`, or else of that name, and its
    disk has the size that it had then. A stop at any point leaves the old or the new state, with at most leaked
    clusters. Raises InstarError, of kind MISSING where there is none.
    """
    _change(path, "apply", name, format, open_options, settings)


def _change(
    path: str,
    action: str,
    name: str,
    format: str | None,
    options: Mapping[str, Any] | None,
    settings: Settings,
) -> None:
    with Changing(path, settings, format=format, options=options, foreseen="snapshot") as image:
        member = image.member
        if member.reference() is not None:  # the images below must be there, as for any other use
            image.chain().close()
        try:
            if Capability.SNAPSHOT not in registry.spec(member.format).capabilities:
                kind = ErrorKind.MISSING if action == "delete" else ErrorKind.UNSUPPORTED
                raise InstarError(UNSUPPORTED[action], kind=kind)
            image.apply(SnapshotEdit(action, name, time.time_ns()))
        except InstarError as error:
            error.message = f"Could not {action} snapshot '{name}': {error.message}"
            raise
