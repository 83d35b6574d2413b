"""From a passphrase to the key of a key slot: PBKDF2 (RFC 8018), Argon2 (RFC 9106), or the passphrase itself.

Argon2 is computed by argon2-cffi in one thread, whatever its lanes, because there are no others behind the walls; where
that package is missing, by newer versions of `cryptography`.
"""

from __future__ import annotations

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError, NotInstalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Argon2 = Callable[[bytes, bytes, Mapping[str, Any], int], bytes]

PBKDF2, ARGON2I, ARGON2ID, PLAIN = "pbkdf2", "argon2i", "argon2id", "plain"
ARGON2 = (ARGON2I, ARGON2ID)
VERSION = 0x13
"""Of Argon2: 1.3."""
LEAST_SALT, LEAST_MEMORY = 8, 8
"""Bytes of a salt, and KiB of memory for each lane, that Argon2 needs."""


def prepare(names: tuple[str, ...]) -> None:
    """What these key derivations need is imported and has run once. Raises NotInstalled."""
    from hashlib import pbkdf2_hmac

    pbkdf2_hmac("sha256", b"", b"", 1)
    for name in names:
        if name in ARGON2:
            argon2(name, b"", bytes(LEAST_SALT), {"iterations": 1, "memory": LEAST_MEMORY, "lanes": 1}, 16)


def derive(kdf: str, passphrase: bytes, salt: bytes, params: Mapping[str, Any], length: int) -> bytes:
    """`length` bytes of key. Params are `hash` and `iterations` of PBKDF2; `iterations`, `memory` (KiB) and `lanes` of
    Argon2; nothing of plain.

    Raises FormatError (UNSUPPORTED) for a derivation that is not known or cannot be had, (LIMIT) for more memory than
    limits.ARGON2_MEMORY, NotInstalled.
    """
    if kdf == PBKDF2:
        return pbkdf2(params["hash"], passphrase, salt, params["iterations"], length)
    if kdf in ARGON2:
        return argon2(kdf, passphrase, salt, params, length)
    if kdf == PLAIN:
        return passphrase[:length].ljust(length, b"\0")
    raise FormatError(f"Key derivation function '{kdf}' not supported", kind=ErrorKind.UNSUPPORTED)


def pbkdf2(hash_name: str, secret: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """PBKDF2 with HMAC. Raises FormatError (UNSUPPORTED)."""
    from hashlib import pbkdf2_hmac

    try:
        return pbkdf2_hmac(hash_name, secret, salt, iterations, length)
    except (ValueError, OverflowError, TypeError) as error:
        message = f"Hash algorithm '{hash_name}' with {iterations} iterations not supported"
        raise FormatError(message, kind=ErrorKind.UNSUPPORTED) from error


def argon2(kdf: str, secret: bytes, salt: bytes, params: Mapping[str, Any], length: int) -> bytes:
    """Argon2i or Argon2id. Raises FormatError, NotInstalled."""
    iterations, memory, lanes = (params[name] for name in ("iterations", "memory", "lanes"))
    if memory * limits.KIB > limits.ARGON2_MEMORY:
        most = limits.ARGON2_MEMORY // limits.KIB
        raise FormatError(f"{kdf} with {memory} KiB of memory needs more than {most} KiB", kind=ErrorKind.LIMIT)
    possible = 0 < iterations < 1 << 32 and 0 < lanes <= limits.ARGON2_LANES and memory >= LEAST_MEMORY * lanes
    if not possible or len(salt) < LEAST_SALT:
        text = f"{kdf} with {iterations} iterations, {memory} KiB and {lanes} lanes is not possible"
        raise FormatError(text, kind=ErrorKind.UNSUPPORTED)
    compute = _argon2_cffi(kdf) or _cryptography(kdf)
    if compute is None:
        raise _missing(kdf)
    try:
        return compute(secret, salt, params, length)
    except MemoryError:
        raise FormatError(f"there is no memory for {kdf} with {memory} KiB", kind=ErrorKind.LIMIT) from None


def _missing(kdf: str) -> NotInstalled:
    return NotInstalled(f"{kdf} needs the package argon2-cffi", hint="install the extra instar[argon2]")


def _argon2_cffi(kdf: str) -> Argon2 | None:
    try:
        from argon2.low_level import Type, core, error_to_str, ffi
    except ImportError:
        return None
    variant = (Type.ID if kdf == ARGON2ID else Type.I).value

    def compute(secret: bytes, salt: bytes, params: Mapping[str, Any], length: int) -> bytes:
        out = ffi.new("uint8_t[]", length)
        password, salted = ffi.new("uint8_t[]", secret), ffi.new("uint8_t[]", salt)
        context = ffi.new(
            "argon2_context *",
            {
                "version": VERSION,
                "out": out,
                "outlen": length,
                "pwd": password,
                "pwdlen": len(secret),
                "salt": salted,
                "saltlen": len(salt),
                "secret": ffi.NULL,
                "secretlen": 0,
                "ad": ffi.NULL,
                "adlen": 0,
                "t_cost": params["iterations"],
                "m_cost": params["memory"],
                "lanes": params["lanes"],
                "threads": 1,
                "allocate_cbk": ffi.NULL,
                "free_cbk": ffi.NULL,
                "flags": 0,
            },
        )
        code = core(context, variant)
        ffi.memmove(password, bytes(len(secret)), len(secret))
        if code == -22:  # ARGON2_MEMORY_ALLOCATION_ERROR
            raise MemoryError
        if code:
            raise FormatError(f"{kdf} failed: {error_to_str(code)}", kind=ErrorKind.UNSUPPORTED)
        return bytes(ffi.buffer(out, length))

    return compute


def _cryptography(kdf: str) -> Argon2 | None:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf import argon2 as library
    except ImportError:
        return None
    variant: Any = getattr(library, "Argon2id" if kdf == ARGON2ID else "Argon2i", None)
    if variant is None:
        return None

    def compute(secret: bytes, salt: bytes, params: Mapping[str, Any], length: int) -> bytes:
        cost = {"iterations": params["iterations"], "lanes": params["lanes"], "memory_cost": params["memory"]}
        try:
            made: bytes = variant(salt=salt, length=length, **cost).derive(secret)
        except UnsupportedAlgorithm:
            raise NotInstalled(
                f"{kdf} needs the package argon2-cffi", hint="install the extra instar[argon2]"
            ) from None
        return made

    return compute
