"""A new LUKS2 header: the key slot that it needs made, and the two copies that are written."""

from __future__ import annotations

from binascii import b2a_base64

from instar_core.luks1.make import uuid
from instar_core.types import Barrier, KeyPlan, KeySlot, Put
from instar_luks.luks2 import checksum
from instar_luks.luks2.copies import Copy, build
from instar_luks.luks2.layout import (
    ALIGNMENT,
    BINARY_SIZE,
    NEW_OFFSET,
    NEW_SIZE,
    SALT,
    SALT_SIZE,
    SECTOR_SIZE,
    STRIPES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.luks1.options import Choice
    from instar_core.types import Edit
    from instar_luks.luks2.choices import Choice2

CHECKSUM = "sha256"
DIGEST_SIZES = {
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "ripemd160": 20,
    "sm3": 32,
}


def order(choice: Choice, more: Choice2) -> KeyPlan:
    """The key plan of a new volume with one key slot, still to be filled."""
    size = DIGEST_SIZES[choice.hash]
    check = {"hash": choice.hash, "salt": bytes(SALT), "digest": bytes(size), "time": choice.time}
    made = slot(0, 2 * NEW_SIZE, choice.key_size, more.kdf, more.params, choice.cipher, choice.hash)
    return KeyPlan(choice.cipher, choice.key_size, (made,), (), check)


def slot(
    index: int, offset: int, key_size: int, kdf: str, params: Mapping[str, Any], cipher: str, hash_name: str
) -> KeySlot:
    """A key slot that is still to be filled: its material is encrypted like the payload."""
    length = -(-key_size * STRIPES // SECTOR_SIZE) * SECTOR_SIZE
    return KeySlot(index, kdf, {**params}, bytes(SALT), STRIPES, offset, length, cipher, hash_name)


def area_size(key_size: int) -> int:
    """Bytes of the area of a key slot."""
    return -(-key_size * STRIPES // ALIGNMENT) * ALIGNMENT


def keyslot(filled: KeySlot, key_size: int) -> dict[str, Any]:
    """The object of a key slot that a key worker made."""
    params = filled.params
    kdf: dict[str, Any] = {"type": filled.kdf}
    if "memory" in params:
        kdf.update({"time": params["iterations"], "memory": params["memory"], "cpus": params["lanes"]})
    else:
        kdf.update({"hash": params["hash"], "iterations": params["iterations"]})
    kdf["salt"] = base64(filled.salt)
    return {
        "type": "luks2",
        "key_size": key_size,
        "af": {"type": "luks1", "stripes": filled.stripes, "hash": filled.hash},
        "area": {
            "type": "raw",
            "offset": str(filled.offset),
            "size": str(area_size(key_size)),
            "encryption": filled.cipher,
            "key_size": params.get("key_size", key_size),
        },
        "kdf": kdf,
    }


def base64(data: bytes) -> str:
    """The bytes as base64, in one line."""
    return b2a_base64(data, newline=False).decode("ascii")


def new_copy(plan: KeyPlan, more: Choice2, offset: int, entropy: bytes) -> Copy:
    """The header of a new volume whose payload begins at `offset`."""
    check = plan.check
    json = {
        "keyslots": {str(filled.index): keyslot(filled, plan.key_size) for filled in plan.slots},
        "tokens": {},
        "segments": {
            "0": {
                "type": "crypt",
                "offset": str(offset),
                "size": "dynamic",
                "iv_tweak": "0",
                "encryption": plan.cipher,
                "sector_size": more.sector_size,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2",
                "keyslots": [str(filled.index) for filled in plan.slots],
                "segments": ["0"],
                "hash": check["hash"],
                "iterations": check["iterations"],
                "salt": base64(check["salt"]),
                "digest": base64(check["digest"]),
            }
        },
        "config": {"json_size": str(NEW_SIZE - BINARY_SIZE), "keyslots_size": str(NEW_OFFSET - 2 * NEW_SIZE)},
    }
    return Copy(0, NEW_SIZE, 1, more.label, CHECKSUM, uuid(entropy), more.subsystem, json)


def salts(entropy: bytes) -> tuple[bytes, bytes]:
    """A salt for either copy."""
    halves = [checksum.digest("sha512", name + entropy) for name in (b"first", b"second")]
    return halves[0][:SALT_SIZE], halves[1][:SALT_SIZE]


def edits(
    plan: KeyPlan, more: Choice2, entropy: bytes, *, device: int = 0, payload_offset: int = NEW_OFFSET
) -> Iterator[Edit]:
    """The key material, a barrier, the second copy, a barrier, and the first: without it nothing is a LUKS volume."""
    for filled, material in zip(plan.slots, plan.material, strict=True):
        yield Put(filled.offset, material, device)
    yield Barrier()
    copy = new_copy(plan, more, payload_offset, entropy)
    first, second = salts(entropy)
    yield Put(copy.size, build(copy, copy.size, second), device)
    yield Barrier()
    yield Put(0, build(copy, 0, first), device)
