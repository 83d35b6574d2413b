"""Which file a name on the command line means."""

from __future__ import annotations

from instar_core.errors import UsageError

ZERO_INIT = "zeroinit"
"""Of a target whose bytes are all zero already: a protocol that Proxmox adds to QEMU."""
UNKNOWN = "Unknown protocol"
"""How the message about a protocol begins that nobody knows."""


def local(name: str, *, proxmox: bool = False) -> str:
    """The path that the name stands for: itself, or what follows `file:`, or, for Proxmox, `zeroinit:`.

    It has no colon in front that something further down would take for a protocol, but where a source plugin speaks
    that. Raises UsageError, with the name as its path, for names of other protocols and for empty names.
    """
    if not name:
        raise UsageError("The 'file' block driver requires a file name", path=name)
    head = protocol(name)
    if not head:
        return name
    if head == "file" or (proxmox and head == ZERO_INIT):
        rest = name.partition(":")[2]
        return f"./{rest}" if protocol(rest) else rest
    from instar_core.sources import names

    names.value(name)
    return name


def protocol(name: str) -> str:
    """What stands in front of the first colon, where no slash does; else nothing."""
    head, colon, _ = name.partition(":")
    return head if colon and "/" not in head else ""
