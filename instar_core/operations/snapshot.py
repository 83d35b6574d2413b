"""snapshot: the internal snapshots of an image: listed, created, deleted."""

from __future__ import annotations

import time

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, registry
from instar_core.errors import ErrorKind, InstarError
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, SnapshotEdit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.settings import Settings
    from instar_core.types import Snapshot


def list_(path: str, *, format: str | None = None, settings: Settings = DEFAULTS) -> tuple[Snapshot, ...]:
    """The snapshots of the image at `path`, in the order of its table. The images below it must be there."""
    with chains.open_chain(path, settings, "map", format=format) as member:
        return member.info.snapshots


def create(path: str, name: str, *, format: str | None = None, settings: Settings = DEFAULTS) -> None:
    """The image has a further snapshot of its active content, called `name`. A stop at any point leaves the old or the
    new state, with at most leaked clusters. Raises InstarError.
    """
    _change(path, SnapshotEdit("create", name, time.time_ns()), format, settings, "create")


def delete(path: str, name: str, *, format: str | None = None, settings: Settings = DEFAULTS) -> None:
    """The first snapshot called `name` is gone. A stop at any point leaves the old or the new state, with at most
    leaked clusters. Raises InstarError, of kind MISSING where there is none.
    """
    _change(path, SnapshotEdit("delete", name, time.time_ns()), format, settings, "delete")


def _change(path: str, request: SnapshotEdit, format: str | None, settings: Settings, verb: str) -> None:
    from instar_core.dataplane.apply import apply

    with chains.open_member(path, settings._replace(force_share=True), "write", format=format) as member:
        if Capability.SNAPSHOT not in registry.spec(member.format).capabilities:
            raise InstarError(
                f"Could not {verb} snapshot '{request.name}': Operation not supported", kind=ErrorKind.UNSUPPORTED
            )
        writable = devices.open_named(chains.plain(path), write=True)
        try:
            if writable.identity != member.devices[0].identity:
                raise InstarError("the image was exchanged while it was opened", path=path)
            locks.take(writable, locks.CHANGE)
            try:
                edits = list(member.session.edits(member.format, request))
            except InstarError as error:
                error.message = f"Could not {verb} snapshot '{request.name}': {error.message}"
                raise
            apply(edits, [writable.descriptor])
        finally:
            writable.close()
