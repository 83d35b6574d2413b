"""Versions that are told."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

INSTAR: Final = "0.1.0"
"""Version of this distribution, the same as in pyproject.toml."""

QEMU: Final = "11.1.3"
"""Version of qemu-img that is answered like."""


def told(qemu: bool) -> str:
    """What --version prints. Clients match `qemu-img version ([0-9.]*)` at the start."""
    if qemu:
        return f"qemu-img version {QEMU}\ninstar {INSTAR}: safe tools for virtual-machine disk images\n"
    return f"instar version {INSTAR}\n"
