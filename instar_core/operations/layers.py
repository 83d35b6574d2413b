"""Choosing which content of an image is meant: the active one or an internal snapshot."""

from __future__ import annotations

from instar_core import registry
from instar_core.errors import ErrorKind, InstarError
from instar_core.types import Capability, Layer, LayerKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.chain import Member
    from instar_core.types import Snapshot


def chosen(top: Member, wanted: str | None) -> Layer:
    """The layer that `wanted` names: an id or a name, or snapshot.id=ID,snapshot.name=NAME; None is the active one.

    Raises InstarError of kind MISSING where no snapshot fits.
    """
    if wanted is None:
        return Layer()
    if Capability.SNAPSHOT not in registry.spec(top.format).capabilities:
        raise InstarError(
            f"Failed to load snapshot: Block format '{top.format}' used by device '' does not support temporarily "
            "loading internal snapshots",
            kind=ErrorKind.UNSUPPORTED,
        )
    found = find(top.info.snapshots, wanted)
    if found is None:
        raise InstarError("Failed to load snapshot: Can't find snapshot", kind=ErrorKind.MISSING)
    return Layer(LayerKind.SNAPSHOT, found.id)


def find(snapshots: tuple[Snapshot, ...], wanted: str) -> Snapshot | None:
    """The first snapshot that fits: ids are looked through before names."""
    if wanted.startswith("snapshot."):
        parts = dict(part.partition("=")[::2] for part in wanted.split(","))
        number, name = parts.get("snapshot.id"), parts.get("snapshot.name")
        for snapshot in snapshots:
            if (number is None or snapshot.id == number) and (name is None or snapshot.name == name):
                return snapshot
        return None
    for attribute in ("id", "name"):
        for snapshot in snapshots:
            if getattr(snapshot, attribute) == wanted:
                return snapshot
    return None
