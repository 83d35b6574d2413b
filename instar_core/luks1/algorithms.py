"""The names of ciphers, modes, IV generators and hashes in a LUKS1 header, and what they are called in answers."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

CIPHERS = {
    ("aes", 16): "aes-128",
    ("aes", 24): "aes-192",
    ("aes", 32): "aes-256",
    ("cast5", 16): "cast5-128",
    ("serpent", 16): "serpent-128",
    ("serpent", 24): "serpent-192",
    ("serpent", 32): "serpent-256",
    ("twofish", 16): "twofish-128",
    ("twofish", 24): "twofish-192",
    ("twofish", 32): "twofish-256",
    ("sm4", 16): "sm4",
}
"""By cipher-name and bytes of key. Other names of the specification (cast6) are in no tool's use."""

MODES = ("ecb", "cbc", "xts", "ctr")
IV_GENERATORS = ("plain", "plain64", "essiv")
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
ESSIV_FAMILIES = {"aes": "AES", "serpent": "Serpent", "twofish": "Twofish"}
"""Ciphers of which ESSIV takes the variant that the hash's digest is a key of; others must fit as they are."""


class Algorithms(NamedTuple):
    """How a volume is encrypted. `cipher` has its key length in its name; `iv_hash` is empty except for essiv."""

    cipher: str
    mode: str
    iv: str
    iv_hash: str
    hash: str


def parse(cipher_name: str, cipher_mode: str, hash_spec: str, key_bytes: int) -> Algorithms:
    """The algorithms that these header fields name.

    Raises FormatError (UNSUPPORTED, INVALID) with qemu-img's words, and in its order of checks.
    """
    mode, dash, iv = cipher_mode.partition("-")
    if not dash:
        raise FormatError(f"Unexpected cipher mode string format '{cipher_mode}'", kind=ErrorKind.INVALID)
    iv, colon, iv_hash = iv.partition(":")
    if colon:
        _hash(iv_hash)
    if mode not in MODES:
        raise _unsupported(f"Cipher mode '{mode}' not supported")
    size = key_bytes // 2 if mode == "xts" else key_bytes
    cipher = CIPHERS.get((cipher_name, size))
    if cipher is None:
        raise _unsupported(f"Algorithm '{cipher_name}' with key size {size} bytes not supported")
    _hash(hash_spec)
    if iv not in IV_GENERATORS:
        raise _unsupported(f"IV generator '{iv}' not supported")
    if iv != "essiv":
        return Algorithms(cipher, mode, iv, "", hash_spec)
    if not colon:
        raise FormatError("Missing IV generator hash specification", kind=ErrorKind.INVALID)
    digest = DIGEST_SIZES[iv_hash]
    if cipher_name in ESSIV_FAMILIES:
        if (cipher_name, digest) not in CIPHERS:
            raise _unsupported(f"No {ESSIV_FAMILIES[cipher_name]} cipher with key size {digest} available")
    elif digest != size:
        raise _unsupported(f"Cipher {cipher} not supported with essiv")
    return Algorithms(cipher, mode, iv, iv_hash, hash_spec)


def _hash(name: str) -> None:
    if name not in DIGEST_SIZES:
        raise _unsupported(f"Hash algorithm '{name}' not supported")


def _unsupported(message: str) -> FormatError:
    return FormatError(message, kind=ErrorKind.UNSUPPORTED)
