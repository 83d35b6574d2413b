"""The LUKS header inside an encrypted qcow2 image, as far as qemu-img info tells of it: no key is needed.

Source: LUKS On-Disk Format Specification, version 1.2.3.
"""

from __future__ import annotations

from struct import Struct

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import limits
from instar_qcow2.extensions import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from instar_core.source import Source
    from instar_qcow2.header import Header

MAGIC = b"LUKS\xba\xbe"
PHDR = Struct(">6sH32s32s32sII20s32sI40s")
"""magic, version, cipher-name, cipher-mode, hash-spec, payload-offset, key-bytes, mk-digest, mk-digest-salt,
mk-digest-iterations, uuid (208 bytes)"""
KEYSLOT = Struct(">II32sII")
"""active, iterations, salt, key-material-offset, stripes (48 bytes)"""
ACTIVE = 0x00AC71F3
INACTIVE = 0x0000DEAD
SECTOR = 512
HEADER_SECTORS = 8
STRIPES = 4000
HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "sm3")
MODES = ("ecb", "cbc", "xts", "ctr")
GENERATORS = ("plain", "plain64", "essiv")
CIPHERS = {"aes": (128, 192, 256), "cast5": (128,), "serpent": (128, 192, 256), "twofish": (128, 192, 256)}
"""Ciphers that qemu knows, by the bits of their keys."""


def luks_details(source: Source, header: Header) -> dict[str, Any]:
    """What qemu-img info prints under `encrypt` for the format luks. Offsets are bytes within the LUKS header."""
    start, length = header.extensions.crypto or (0, 0)
    if length < PHDR.size + limits.LUKS_SLOTS * KEYSLOT.size:
        raise FormatError("Request for data outside of extension header", offset=start)
    magic, version, cipher, mode, digest, payload, key_bytes, _, _, iterations, uuid = source.unpack(
        PHDR, start, pad=True
    )
    if magic != MAGIC:
        raise FormatError("Volume is not in LUKS format", offset=start)
    if version != 1:
        raise FormatError(f"LUKS version {version} is not supported", kind=ErrorKind.UNSUPPORTED, offset=start + 6)
    for what, field in (("cipher name", cipher), ("cipher mode", mode), ("hash spec", digest)):
        if b"\0" not in field:
            raise FormatError(f"LUKS header {what} is not NUL terminated", offset=start)
    if payload < HEADER_SECTORS:
        raise FormatError("LUKS payload is overlapping with the header", offset=start + 104)
    if not iterations:
        raise FormatError("LUKS key iteration count is zero", offset=start + 164)
    slots = [
        source.unpack(KEYSLOT, start + PHDR.size + index * KEYSLOT.size, pad=True) for index in range(limits.LUKS_SLOTS)
    ]
    _check_slots(slots, payload, -(-key_bytes * STRIPES // SECTOR) + 7 & ~7)
    chaining, dash, generator = text(mode).partition("-")
    if not dash:
        raise FormatError(f"Unexpected cipher mode string format '{text(mode)}'", offset=start + 40)
    name, _, generator_hash = generator.partition(":")
    if chaining not in MODES:
        raise FormatError(f"Cipher mode '{chaining}' not supported", kind=ErrorKind.UNSUPPORTED, offset=start + 40)
    hashed = text(digest)
    if hashed not in HASHES:
        raise FormatError(f"Hash algorithm '{hashed}' not supported", kind=ErrorKind.UNSUPPORTED, offset=start + 72)
    if name not in GENERATORS:
        raise FormatError(f"IV generator '{name}' not supported", kind=ErrorKind.UNSUPPORTED, offset=start + 40)
    details: dict[str, Any] = {
        "format": "luks",
        "detached-header": False,
        "cipher-alg": _algorithm(text(cipher), chaining, key_bytes),
        "cipher-mode": chaining,
        "ivgen-alg": name,
        "hash-alg": hashed,
        "payload-offset": payload * SECTOR,
        "master-key-iters": iterations,
        "uuid": text(uuid),
        "slots": [_slot(*slot) for slot in slots],
    }
    if name == "essiv":
        if not generator_hash:
            raise FormatError("Missing IV generator hash specification", offset=start + 40)
        details["ivgen-hash-alg"] = generator_hash
    return details


def _check_slots(slots: Sequence[tuple[int, int, bytes, int, int]], payload: int, length: int) -> None:
    """Raise FormatError unless the slots are sound and apart; `length` is that of their key material in sectors."""
    for index, (active, iterations, _, first, stripes) in enumerate(slots):
        if stripes != STRIPES:
            raise FormatError(f"Keyslot {index} is corrupted (stripes {stripes} != {STRIPES})")
        if first < HEADER_SECTORS:
            raise FormatError(f"Keyslot {index} is overlapping with the LUKS header")
        if active not in (ACTIVE, INACTIVE):
            raise FormatError(f"Keyslot {index} state (active/disable) is corrupted")
        if active == ACTIVE and not iterations:
            raise FormatError(f"Keyslot {index} iteration count is zero")
        if first + length > payload:
            raise FormatError(f"Keyslot {index} is overlapping with the encrypted payload")
        for other in range(index + 1, len(slots)):
            second = slots[other][3]
            if first + length > second and second + length > first:
                raise FormatError(f"Keyslots {index} and {other} are overlapping in the header")


def _algorithm(cipher: str, chaining: str, key_bytes: int) -> str:
    """The cipher as qemu names it, with the bits of its key; XTS keeps two keys."""
    bits = key_bytes * 8 // 2 if chaining == "xts" else key_bytes * 8
    if bits not in CIPHERS.get(cipher, ()):
        raise FormatError(
            f"Algorithm '{cipher}' with key size {bits // 8} bytes not supported", kind=ErrorKind.UNSUPPORTED
        )
    return f"{cipher}-{bits}"


def _slot(active: int, iterations: int, salt: bytes, material: int, stripes: int) -> dict[str, Any]:
    if active == INACTIVE:
        return {"active": False, "key-offset": material * SECTOR}
    return {"active": True, "iters": iterations, "key-offset": material * SECTOR, "stripes": stripes}
