"""A new LUKS1 header: the key slot that it needs made, and the edits that write it.

The key slots lie where qemu-img and cryptsetup put them: each on the next boundary of 4096 bytes.
"""

from __future__ import annotations

from instar_core.luks1.layout import (
    DIGEST_SIZE,
    KEY_DISABLED,
    KEY_ENABLED,
    KEY_SLOT,
    MAGIC,
    NUMKEYS,
    PHDR,
    SALT_SIZE,
    SECTOR_SIZE,
    STRIPES,
    material_offset,
    material_size,
)
from instar_core.types import Barrier, Coding, KeyPlan, KeySlot, Put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.luks1.options import Choice
    from instar_core.types import Edit


def order(choice: Choice) -> KeyPlan:
    """The key plan of a new volume with one key slot, still to be filled."""
    check = {"hash": choice.hash, "salt": bytes(SALT_SIZE), "digest": bytes(DIGEST_SIZE), "time": choice.time}
    made = slot(choice.cipher, choice.key_size, choice.hash, 0, material_offset(choice.key_size, 0), choice.time)
    return KeyPlan(choice.cipher, choice.key_size, (made,), (), check)


def slot(cipher: str, key_size: int, hash_name: str, index: int, offset: int, time: int) -> KeySlot:
    """A key slot that is still to be filled; `time` in milliseconds."""
    params = {"time": time}
    return KeySlot(
        index, "pbkdf2", params, bytes(SALT_SIZE), STRIPES, offset, material_size(key_size), cipher, hash_name
    )


def size(key_size: int) -> int:
    """Bytes from the start of the header to where the payload can begin, for a volume key of so many bytes."""
    return material_offset(key_size, NUMKEYS)


def coding(plan: KeyPlan) -> Coding:
    """How the payload is encrypted, its sectors numbered from its start."""
    params = {"cipher": plan.cipher, "key_size": plan.key_size, "iv_base": 0}
    return Coding("cipher", unit=SECTOR_SIZE, whole=False, params=params)


def header(plan: KeyPlan, entropy: bytes, payload_offset: int) -> bytes:
    """The header with its key slots (HEADER_SIZE bytes); the payload offset is in bytes, the UUID made of entropy."""
    cipher, _, mode = plan.cipher.partition("-")
    check = plan.check
    made = PHDR.pack(
        MAGIC,
        1,
        cipher.encode(),
        mode.encode(),
        check["hash"].encode(),
        payload_offset // SECTOR_SIZE,
        plan.key_size,
        check["digest"],
        check["salt"],
        check["iterations"],
        uuid(entropy),
    )
    active = {slot.index: slot for slot in plan.slots}
    for index in range(NUMKEYS):
        filled = active.get(index)
        place = material_offset(plan.key_size, index)
        state = KEY_DISABLED if filled is None else KEY_ENABLED
        made += key_slot(filled, place, state)
    return made


def key_slot(filled: KeySlot | None, offset: int, state: int) -> bytes:
    """One key slot of the header; `filled` is what a key worker made, or None."""
    iterations = filled.params["iterations"] if filled else 0
    salt = filled.salt if filled else b""
    return KEY_SLOT.pack(state, iterations, salt, offset // SECTOR_SIZE, STRIPES)


def uuid(entropy: bytes) -> bytes:
    """A random UUID (RFC 9562, version 4) as text, of the first 16 bytes."""
    number = bytearray(entropy[:16])
    number[6] = number[6] & 0x0F | 0x40
    number[8] = number[8] & 0x3F | 0x80
    text = number.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])).encode()


def edits(
    plan: KeyPlan, entropy: bytes, base: int = 0, *, device: int = 0, payload_offset: int | None = None
) -> Iterator[Edit]:
    """The key material, a barrier, and then the header: without it nothing is a LUKS volume.

    `plan` is filled. The payload lies behind the key slots unless `payload_offset` (bytes) says otherwise.
    """
    for filled, material in zip(plan.slots, plan.material, strict=True):
        yield Put(base + filled.offset, material, device)
    yield Barrier()
    place = size(plan.key_size) if payload_offset is None else payload_offset
    yield Put(base, header(plan, entropy, place), device)
