"""What a LUKS2 header says, as luksDump of cryptsetup tells it: without any salt, digest or key material."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_luks.luks2.copies import Copy
    from instar_luks.luks2.metadata import Digest, Metadata, Slot

PRIORITIES = ("ignored", "normal", "preferred")


def details(copy: Copy, found: Metadata, *, detached: bool) -> dict[str, Any]:
    """The facts by names of instar's own. Offsets and sizes are bytes."""
    made: dict[str, Any] = {
        "version": 2,
        "detached-header": detached,
        "uuid": copy.uuid.decode("utf-8", "surrogateescape"),
        "sequence-id": copy.seqid,
        "header-size": copy.size,
        "keyslots-size": found.keyslots_size,
        "cipher": found.segment.cipher,
        "key-size": found.key_size,
        "sector-size": found.segment.sector_size,
        "payload-offset": found.segment.offset,
        "iv-tweak": found.segment.iv_tweak,
        "slots": [_slot(number, slot, found) for number, slot in found.slots.items()],
        "digests": [_digest(number, digest) for number, digest in found.digests.items()],
        "tokens": [{"id": n, "type": token.kind, "slots": list(token.slots)} for n, token in found.tokens.items()],
    }
    for name, text in (("label", copy.label), ("subsystem", copy.subsystem)):
        if text:
            made[name] = text.decode("utf-8", "surrogateescape")
    if found.flags:
        made["flags"] = list(found.flags)
    return made


def _slot(number: int, slot: Slot, found: Metadata) -> dict[str, Any]:
    made: dict[str, Any] = {"id": number, "type": slot.kind, "key-offset": slot.offset, "key-length": slot.length}
    if not slot.kdf:
        return made
    made.update(
        {
            "active": number in found.digest.slots,
            "key-size": slot.key_size,
            "priority": PRIORITIES[slot.priority] if slot.priority < len(PRIORITIES) else str(slot.priority),
            "cipher": slot.cipher,
            "pbkdf": slot.kdf,
        }
    )
    for name, key in (("iterations", "iters"), ("hash", "hash-alg"), ("memory", "memory"), ("lanes", "lanes")):
        if name in slot.params:
            made[key] = slot.params[name]
    return made


def _digest(number: int, digest: Digest) -> dict[str, Any]:
    return {"id": number, "hash-alg": digest.hash, "iters": digest.iterations, "slots": list(digest.slots)}
