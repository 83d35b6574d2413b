"""Which names are those of sources: on the command line and in calls, never in an image."""

from __future__ import annotations

from instar_core import protocols, registry
from instar_core.errors import Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.registry import Entry

OWN = ("", "file", "json")
"""Protocols that need no plugin, and cannot be a plugin's."""


def scheme(name: str) -> str:
    """The protocol that the name begins with: what stands before its first colon, where no slash does."""
    head, colon, _ = name.partition(":")
    return head if colon and "/" not in head else ""


def entry(name: str) -> Entry | None:
    """The entry point of the plugin that speaks the name's protocol; None where the name is no source's."""
    head = scheme(name)
    return registry.sources().get(head) if head not in OWN else None


def is_source(name: str) -> bool:
    """Whether a plugin is there to open the name."""
    return entry(name) is not None


def value(name: str) -> str:
    """module:attribute of the SourceSpec that opens the name. Raises UsageError and Unusable."""
    found = entry(name)
    if found is None:
        raise protocols.refusal(scheme(name), name)
    if found.reason:
        raise Unusable(found.reason, path=name)
    return found.value
