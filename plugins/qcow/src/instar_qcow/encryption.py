"""Encryption of qcow images: AES-128 in CBC mode, sector by sector, the passphrase itself being the key."""

from __future__ import annotations

from instar_core.types import Coding, KeyPlan, KeySlot
from instar_qcow.layout import SECTOR

CIPHER = "aes-cbc-plain64"
"""As dm-crypt names it: the vector of a sector is its number on the virtual disk, little-endian."""

KEY_SIZE = 16
"""Bytes of the key: of a longer passphrase the rest does not count, a shorter one is filled up with zeros."""

REQUIRED = "Parameter 'encrypt.key-secret' is required for cipher"


def coding() -> Coding:
    """How encrypted clusters turn into content."""
    params = {"cipher": CIPHER, "key_size": KEY_SIZE, "iv_base": 0}
    return Coding("cipher", unit=SECTOR, whole=False, params=params)


def key_plan(*, filled: bool) -> KeyPlan:
    """The one way to the key. Nothing about it is stored, so any passphrase fits, and nothing is there to be filled."""
    slot = KeySlot(index=0, kdf="plain", params={}, salt=b"", stripes=0, offset=0, length=0, cipher="", hash="")
    return KeyPlan(CIPHER, KEY_SIZE, (slot,), (b"",) if filled else (), {})
