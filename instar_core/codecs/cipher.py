"""The coding "cipher": disk sectors encrypted one by one.

Ciphers are named as dm-crypt names them: aes-xts-plain64, aes-cbc-essiv:sha256.

Params are `cipher`, `key_size` (bytes), `key` (put there by the host, see instar_core.keys), `iv_base`, which is added
to the number of a piece's first sector to make its vector, and `iv_step`, how many numbers a sector takes (1): dm-crypt
numbers sectors of 4096 bytes, too, by their first 512.
"""

from __future__ import annotations

from instar_core.codecs import blocks
from instar_core.codecs.sector_iv import generator
from instar_core.codecs.sector_modes import mode
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.codecs import Code

BATCH = 1 << 19
"""Bytes that are done at once: with their masks they stay in a core's cache."""

SPECIMENS = {16: "aes-ecb-plain", 32: "aes-xts-plain64", 24: "aes-cbc-essiv:sha256"}
RARE = {
    "cast5": "cast5-cbc-plain64",
    "serpent": "serpent-cbc-plain64",
    "twofish": "twofish-cbc-plain64",
    "sm4": "sm4-cbc-plain64",
}
RARE_KEY = 16
LEAST = 512
"""Bytes of the sectors on which ciphers are tried out."""


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
    step = params.get("iv_step", 1)
    run = sectors(params["cipher"], key, unit, decrypt=decrypt, fast=True, step=step)
    base = params.get("iv_base", 0)

    def code(stored: memoryview, room: memoryview, number: int) -> int:
        return run(stored, room, number + base)

    return code


def sectors(spec: str, key: bytes, unit: int, *, decrypt: bool, fast: bool, step: int = 1) -> Code:
    """The function for one cipher and key. `fast` is for much data: it imports numpy where that is installed. The
    numbers of two sectors that touch are `step` apart.

    What it needs is imported and has run once when this returns.
    """
    cipher, name, vectors, digest = parse(spec)
    run = mode(name, cipher, key, decrypt=decrypt, fast=fast)
    block = blocks.SIZES[cipher]
    if unit <= 0 or unit % block:
        raise FormatError(f"a sector of {unit} bytes does not consist of blocks of {block}")
    if type(step) is not int or not 0 < step <= unit:
        raise FormatError(f"sectors of {unit} bytes cannot be numbered in steps of {step!r:.40}")
    make_vectors = generator(vectors, digest, key, lambda salt: blocks.ecb(cipher, salt, decrypt=False), block, step)
    at_once = max(1, BATCH // unit)

    def code(stored: memoryview, room: memoryview, number: int) -> int:
        length = len(stored)
        if length % unit:
            raise FormatError(f"{length} encrypted bytes are not whole sectors of {unit}", kind=ErrorKind.CORRUPT)
        if length > len(room):
            raise FormatError(f"{length} bytes do not fit in {len(room)}", kind=ErrorKind.LIMIT)
        for at in range(0, length, at_once * unit):
            piece = stored[at : at + at_once * unit]
            vectors = make_vectors(number + at // unit * step, len(piece) // unit)
            run(piece, vectors, unit, room[at : at + len(piece)])
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


def prepare(ciphers: tuple[str, ...] = ()) -> None:
    """Everything that AES on little data, and these further ciphers, need is imported: after this, `sectors` without
    `fast` imports nothing. Raises NotInstalled."""
    cases = [(spec, size) for size, spec in SPECIMENS.items()]
    cases += [(RARE[name], RARE_KEY) for name in ciphers if name in RARE]
    for spec, size in cases:
        for decrypt in (False, True):
            sectors(spec, bytes(size), LEAST, decrypt=decrypt, fast=False)
