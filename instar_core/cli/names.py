"""Which file a name on the command line means."""

from __future__ import annotations

from instar_core.errors import UsageError

ZERO_INIT = "zeroinit"
"""Of a target whose bytes are all zero already: a protocol that Proxmox adds to QEMU."""


def local(name: str, *, proxmox: bool = False) -> str:
    """The path that the name stands for: itself, or what follows `file:`, or, for Proxmox, `zeroinit:`.

    It has no colon in front that something further down would take for a protocol. Raises UsageError, with the name as
    its path, for names of protocols and for empty names.
    """
    if not name:
        raise UsageError("The 'file' block driver requires a file name", path=name)
    head = protocol(name)
    if not head:
        return name
    if head == "file" or (proxmox and head == ZERO_INIT):
        rest = name.partition(":")[2]
        return f"./{rest}" if protocol(rest) else rest
    from instar_core import protocols

    raise protocols.refusal(head, name)


def protocol(name: str) -> str:
    """What stands in front of the first colon, where no slash does; else nothing."""
    head, colon, _ = name.partition(":")
    return head if colon and "/" not in head else ""
