"""The key slots of a LUKS1 header as a key plan: without any secret."""

from __future__ import annotations

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1.layout import STRIPES
from instar_core.types import KeyPlan, KeySlot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.luks1.header import Header
    from instar_core.source import Source


def plan(source: Source, header: Header, base: int = 0) -> KeyPlan:
    """The active key slots with their key material, and how the volume key is recognised. Their offsets are from
    `base` on.

    Raises FormatError (LIMIT) where the header asks for more work than limits.PBKDF2_ITERATIONS.
    """
    _check_iterations("LUKS key", header.digest_iterations)
    slots, material = [], []
    for index, slot in enumerate(header.slots):
        if not slot.active:
            continue
        _check_iterations(f"Keyslot {index}", slot.iterations)
        # Material past the end of the file reads as zeros, which no passphrase opens.
        material.append(source.read(base + slot.offset, header.material_size, pad=True))
        slots.append(
            KeySlot(
                index=index,
                kdf="pbkdf2",
                params={"iterations": slot.iterations},
                salt=slot.salt,
                stripes=STRIPES,
                offset=slot.offset,
                length=header.material_size,
                cipher=header.cipher_spec,
                hash=header.algorithms.hash,
            )
        )
    return KeyPlan(header.cipher_spec, header.key_bytes, tuple(slots), tuple(material), check(header))


def check(header: Header) -> dict[str, Any]:
    """How the volume key is recognised."""
    return {
        "hash": header.algorithms.hash,
        "salt": header.digest_salt,
        "iterations": header.digest_iterations,
        "digest": header.digest,
    }


def _check_iterations(what: str, iterations: int) -> None:
    if iterations > limits.PBKDF2_ITERATIONS:
        text = f"{what} iteration count {iterations} is more than {limits.PBKDF2_ITERATIONS}"
        raise FormatError(text, kind=ErrorKind.LIMIT)
