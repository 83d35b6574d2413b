"""What a LUKS1 header says, by qemu-img's names."""

from __future__ import annotations

from instar_core.luks1.layout import STRIPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.luks1.header import Header, Slot


def details(header: Header, *, detached: bool = False) -> dict[str, Any]:
    """The format-specific facts. Offsets are bytes from the header's first."""
    names = header.algorithms
    made: dict[str, Any] = {
        "ivgen-alg": names.iv,
        "detached-header": detached,
        "hash-alg": names.hash,
        "cipher-alg": names.cipher,
        "uuid": header.uuid.decode("utf-8", "surrogateescape"),
    }
    if names.iv_hash:
        made["ivgen-hash-alg"] = names.iv_hash
    made["cipher-mode"] = names.mode
    made["slots"] = [_slot(slot) for slot in header.slots]
    made["payload-offset"] = header.payload_offset
    made["master-key-iters"] = header.digest_iterations
    return made


def _slot(slot: Slot) -> dict[str, Any]:
    if not slot.active:
        return {"active": False, "key-offset": slot.offset}
    return {"active": True, "iters": slot.iterations, "key-offset": slot.offset, "stripes": STRIPES}
