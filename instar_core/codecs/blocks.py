"""Block ciphers over many blocks at once: AES, CAST5, SM4 by `cryptography`, Serpent and Twofish by libgcrypt."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError, NotInstalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.codecs.sector_bulk import Buffer

    Blocks = Callable[[Any], Buffer]
    BlocksInto = Callable[[bytearray, bytearray], object]
    Chained = Callable[[bytes, Buffer], Buffer]

SIZES = {"aes": 16, "serpent": 16, "twofish": 16, "sm4": 16, "cast5": 8}
"""Bytes of a block by cipher, of which there are these."""

KEYS = {"aes": (16, 24, 32), "serpent": (16, 24, 32), "twofish": (16, 24, 32), "sm4": (16,), "cast5": (16,)}
"""Bytes of a key by cipher."""

SLACK = 15
"""Bytes that `cryptography` wants to have room for beside the result: a block of 16 less one."""

BY_GCRYPT = ("serpent", "twofish")
TITLES = {"aes": "AES", "serpent": "Serpent", "twofish": "Twofish", "sm4": "SM4", "cast5": "CAST5"}


def ecb(cipher: str, key: bytes, *, decrypt: bool) -> Blocks:
    """The cipher over whole blocks, each for itself.

    Raises FormatError (UNSUPPORTED) for a cipher or a key that there is not, NotInstalled where its library is missing.
    """
    _check(cipher, key)
    if cipher in BY_GCRYPT:
        from instar_core.codecs import gcrypt

        made = gcrypt.Cipher(cipher, key, gcrypt.ECB)
        return made.decrypt if decrypt else made.encrypt
    ciphers = _library()
    context = ciphers.Cipher(_algorithm(ciphers, cipher, key), ciphers.modes.ECB())
    update: Blocks = (context.decryptor() if decrypt else context.encryptor()).update
    return update


def ecb_into(cipher: str, key: bytes, *, decrypt: bool) -> BlocksInto | None:
    """The same from one buffer into another, which is longer by SLACK; None where the library cannot. Raises as ecb."""
    _check(cipher, key)
    if cipher in BY_GCRYPT:
        return None
    ciphers = _library()
    context = ciphers.Cipher(_algorithm(ciphers, cipher, key), ciphers.modes.ECB())
    into: BlocksInto = (context.decryptor() if decrypt else context.encryptor()).update_into
    return into


def cbc(cipher: str, key: bytes) -> Chained:
    """A function (vector, blocks) that encrypts blocks, each chained to the one before it. Raises as ecb does."""
    _check(cipher, key)
    if cipher in BY_GCRYPT:
        from instar_core.codecs import gcrypt

        made = gcrypt.Cipher(cipher, key, gcrypt.CBC)

        def chained(vector: bytes, data: Buffer) -> Buffer:
            made.vector(vector)
            return made.encrypt(data)

        return chained
    ciphers = _library()
    algorithm, context, mode = _algorithm(ciphers, cipher, key), ciphers.Cipher, ciphers.modes.CBC
    return lambda vector, data: context(algorithm, mode(vector)).encryptor().update(data)


def _check(cipher: str, key: bytes) -> None:
    if cipher not in KEYS:
        raise FormatError(f"Algorithm '{cipher}' not supported", kind=ErrorKind.UNSUPPORTED)
    if len(key) not in KEYS[cipher]:
        message = f"No {TITLES[cipher]} cipher with key size {len(key)} available"
        raise FormatError(message, kind=ErrorKind.UNSUPPORTED)


def _algorithm(ciphers: Any, cipher: str, key: bytes) -> Any:
    if cipher == "aes":
        return ciphers.algorithms.AES(key)
    if cipher == "sm4":
        return ciphers.algorithms.SM4(key)
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5
    except ImportError:
        raise NotInstalled(
            "the cipher CAST5 needs a version of the package cryptography that has it",
            hint="install the extra instar[crypto]",
        ) from None
    return CAST5(key)


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: F401
    except ImportError as error:
        raise NotInstalled(
            "encrypted images need the package cryptography", hint="install the extra instar[crypto]"
        ) from error
    return ciphers
