"""The key slots of a LUKS2 header as a key plan: without any secret."""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import KeyPlan, KeySlot
from instar_luks import limits
from instar_luks.luks2.layout import SECTOR_SIZE, STRIPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Source
    from instar_luks.luks2.metadata import Digest, Metadata, Slot


def plan(source: Source, found: Metadata) -> KeyPlan:
    """The key slots of the segment's key with their material, and how the key is recognised.

    Raises FormatError (LIMIT) where they ask for more work or memory than the limits allow.
    """
    _check_iterations("LUKS key", found.digest.iterations)
    slots, material = [], []
    total = 0
    for number in found.bound:
        slot = found.slots[number]
        _check_work(number, slot)
        length = -(-slot.key_size * STRIPES // SECTOR_SIZE) * SECTOR_SIZE
        total += length
        if total > limits.MATERIAL - limits.MATERIAL_ROOM:
            raise FormatError(f"more than {limits.MATERIAL} bytes of key material", kind=ErrorKind.LIMIT)
        # Material past the end of the file reads as zeros, which no passphrase opens.
        material.append(source.read(slot.offset, length, pad=True))
        params = {**slot.params, "key_size": slot.cipher_key_size}
        slots.append(
            KeySlot(number, slot.kdf, params, slot.salt, STRIPES, slot.offset, length, slot.cipher, slot.af_hash)
        )
    return KeyPlan(found.segment.cipher, found.key_size, tuple(slots), tuple(material), check(found.digest))


def check(digest: Digest) -> dict[str, Any]:
    """How the volume key is recognised."""
    return {"hash": digest.hash, "salt": digest.salt, "iterations": digest.iterations, "digest": digest.digest}


def _check_work(number: int, slot: Slot) -> None:
    if "memory" not in slot.params:
        _check_iterations(f"Keyslot {number}", slot.params["iterations"])
        return
    work = slot.params["iterations"] * slot.params["memory"]
    if work > core.ARGON2_WORK:
        text = f"Keyslot {number} makes {slot.params['iterations']} passes over {slot.params['memory']} KiB"
        raise FormatError(f"{text}, more than {core.ARGON2_WORK} KiB together", kind=ErrorKind.LIMIT)


def _check_iterations(what: str, iterations: int) -> None:
    if iterations > core.PBKDF2_ITERATIONS:
        text = f"{what} iteration count {iterations} is more than {core.PBKDF2_ITERATIONS}"
        raise FormatError(text, kind=ErrorKind.LIMIT)
