"""The options by which a LUKS1 header is made and changed, and what their values mean.

Messages are qemu-img's, which names options without any prefix.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple

TIME = 2000
"""Milliseconds that one try of a passphrase costs where nobody says otherwise."""

KEYS = {
    "aes-128": 16,
    "aes-192": 24,
    "aes-256": 32,
    "des": 8,
    "3des": 24,
    "cast5-128": 16,
    "serpent-128": 16,
    "serpent-192": 24,
    "serpent-256": 32,
    "twofish-128": 16,
    "twofish-192": 24,
    "twofish-256": 32,
    "sm4": 16,
}
"""Bytes of a key by the names of ciphers that options have; LUKS has no name for DES."""
NO_NAME = ("des", "3des")
NARROW = "cast5"
"""The cipher whose blocks are too small for XTS."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "cipher-alg": tuple(KEYS),
    "cipher-mode": ("ecb", "cbc", "xts", "ctr"),
    "ivgen-alg": ("plain", "plain64", "essiv"),
    "ivgen-hash-alg": ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "sm3"),
    "hash-alg": ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "sm3"),
}
DEFAULTS = {"cipher-alg": "aes-256", "cipher-mode": "xts", "ivgen-alg": "plain64", "hash-alg": "sha256"}
ESSIV_HASH = "sha256"


class Choice(NamedTuple):
    """How a volume is to be encrypted: the cipher as dm-crypt names it, bytes of its key, the hash of the header, and
    milliseconds that one try of a passphrase may cost."""

    cipher: str
    key_size: int
    hash: str
    time: int


def choose(values: Mapping[str, Any], prefix: str = "") -> Choice:
    """What the values of the options mean; those that are not there or None have their defaults.

    Raises FormatError (USAGE, UNSUPPORTED) in qemu-img's words.
    """
    from instar_core.luks1 import algorithms

    chosen: dict[str, str | None] = {}
    for name, allowed in ALLOWED.items():
        value = values.get(prefix + name)
        if value is not None and value not in allowed:
            raise FormatError(f"Parameter '{name}' does not accept value '{value}'", kind=ErrorKind.USAGE)
        chosen[name] = value if value is not None else DEFAULTS.get(name)
    cipher, mode, vectors = (str(chosen[name]) for name in ("cipher-alg", "cipher-mode", "ivgen-alg"))
    if cipher in NO_NAME:
        raise FormatError(f"Algorithm '{cipher}' not supported", kind=ErrorKind.UNSUPPORTED)
    vector_hash = chosen["ivgen-hash-alg"] or (ESSIV_HASH if vectors == "essiv" else None)
    family = cipher.partition("-")[0]
    size = KEYS[cipher] * (2 if mode == "xts" else 1)
    vectors += f":{vector_hash}" if vector_hash else ""
    hash_name = str(chosen["hash-alg"])
    if mode == "xts" and family == NARROW:
        raise FormatError(f"Unsupported cipher mode {mode}", kind=ErrorKind.UNSUPPORTED)
    algorithms.parse(family, f"{mode}-{vectors}", hash_name, size)
    time = values.get(prefix + "iter-time")
    return Choice(f"{family}-{mode}-{vectors}", size, hash_name, TIME if time is None else time)
