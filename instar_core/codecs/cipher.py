"""The coding "cipher": disk sectors encrypted one by one.

Ciphers are named as dm-crypt names them: aes-xts-plain64, aes-cbc-essiv:sha256.

Params are `cipher`, `key_size` (bytes), `key` (put there by the host, see instar_core.keys) and `iv_base`, which is
added to the number of a piece's first sector to make its vector.
"""

from __future__ import annotations

from instar_core.codecs.sector_bulk import BLOCK
from instar_core.codecs.sector_iv import generator
from instar_core.codecs.sector_modes import ecb, mode
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.codecs import Code

BATCH = 1 << 19
"""Bytes that are done at once: with their masks they stay in a core's cache."""

SPECIMENS = {16: "aes-ecb-plain", 32: "aes-xts-plain64", 24: "aes-cbc-essiv:sha256"}


def decoder(params: Mapping[str, Any], unit: int) -> Code:
    """A function that decrypts whole sectors of `unit` bytes into its room, and returns their length.

    It takes the stored bytes, the room and the number of the first sector, and imports nothing more when it runs.
    Raises FormatError (UNSUPPORTED) for a cipher that is not known, FormatError (INVALID) for a key of the wrong size,
    NotInstalled where the library is missing.
    """
    return _code(params, unit, decrypt=True)


def encoder(params: Mapping[str, Any], unit: int) -> Code:
    """The same, encrypting."""
    return _code(params, unit, decrypt=False)


def _code(params: Mapping[str, Any], unit: int, *, decrypt: bool) -> Code:
    key = params.get("key")
    if not isinstance(key, bytes):
        raise FormatError("the image is encrypted and no key was given", kind=ErrorKind.REFUSED)
    if len(key) != params["key_size"]:
        raise FormatError(f"a key of {params['key_size']} bytes is needed, not {len(key)}")
    run = sectors(params["cipher"], key, unit, decrypt=decrypt, fast=True)
    base = params.get("iv_base", 0)

    def code(stored: memoryview, room: memoryview, number: int) -> int:
        return run(stored, room, number + base)

    return code


def sectors(spec: str, key: bytes, unit: int, *, decrypt: bool, fast: bool) -> Code:
    """The function for one cipher and key. `fast` is for much data: it imports numpy where that is installed.

    What it needs is imported and has run once when this returns.
    """
    cipher, name, vectors, digest = parse(spec)
    if cipher != "aes":
        raise FormatError(f"the cipher {spec} is not supported: only AES is", kind=ErrorKind.UNSUPPORTED)
    if unit <= 0 or unit % BLOCK:
        raise FormatError(f"a sector of {unit} bytes does not consist of blocks of {BLOCK}")
    run = mode(name, key, decrypt=decrypt, fast=fast)
    make_vectors = generator(vectors, digest, key, lambda salt: ecb(salt, decrypt=False))
    at_once = max(1, BATCH // unit)

    def code(stored: memoryview, room: memoryview, number: int) -> int:
        length = len(stored)
        if length % unit:
            raise FormatError(f"{length} encrypted bytes are not whole sectors of {unit}", kind=ErrorKind.CORRUPT)
        if length > len(room):
            raise FormatError(f"{length} bytes do not fit in {len(room)}", kind=ErrorKind.LIMIT)
        for at in range(0, length, at_once * unit):
            piece = stored[at : at + at_once * unit]
            room[at : at + len(piece)] = run(piece, make_vectors(number + at // unit, len(piece) // unit), unit)
        return length

    code(memoryview(bytes(unit)), memoryview(bytearray(unit)), 0)
    return code


def parse(spec: str) -> tuple[str, str, str, str]:
    """Cipher, mode, IV generator and its hash ("" where it has none). Raises FormatError (UNSUPPORTED)."""
    parts = spec.split("-", 2)
    if len(parts) != 3:
        raise FormatError(f"Unexpected cipher mode string format '{spec}'", kind=ErrorKind.UNSUPPORTED)
    vectors, _, digest = parts[2].partition(":")
    return parts[0], parts[1], vectors, digest


def prepare() -> None:
    """Everything that a small cipher needs is imported: after this, `sectors` without `fast` imports nothing."""
    for size, spec in SPECIMENS.items():
        for decrypt in (False, True):
            sectors(spec, bytes(size), BLOCK * 32, decrypt=decrypt, fast=False)
