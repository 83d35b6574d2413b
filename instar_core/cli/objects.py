"""Objects that are defined on the command line (--object): secrets, as qemu takes them.

A secret is given as data or as a file, plain or in base64, and may be encrypted by another one (AES-256-CBC).
"""

from __future__ import annotations

import os

from instar_core.cli import optionlist
from instar_core.cli.fault import Fault
from instar_core.keyring import Keyring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROPERTIES = ("data", "file", "format", "keyid", "iv", "qom-type", "id")
KEY_SIZE = 32
BLOCK = 16
MOST = 16 << 20
"""Bytes of a secret file that are read: qemu's bound too."""
ARGUMENTS = 48
"""Field of /proc/self/stat in which the arguments' place begins; the next one is their end. Source: proc(5)."""


HELP = "List of user creatable objects:\n  secret\n"


def wants_help(definitions: Sequence[str]) -> bool:
    """Whether one of the definitions asks what objects there are."""
    return any(text.partition(",")[0] in ("help", "?") for text in definitions)


def keyring(definitions: Sequence[str]) -> Keyring:
    """The secrets that the definitions make, in their order. Raises Fault in qemu-img's words."""
    made = Keyring()
    for text in definitions:
        given = properties(text)
        if given["id"] in made:
            raise Fault(f"attempt to add duplicate property '{given['id']}' to object (type 'container')")
        value = secret(given, made)
        made.add(given["id"], value)
        if "data" in given:
            hide(given["data"])
    return made


def properties(text: str) -> dict[str, str]:
    """Key → value of one definition. Raises Fault for an object that is no secret, and for one that cannot be."""
    if text.startswith("{"):
        given = _json(text)
    else:
        first, _, rest = text.partition(",")
        kind = first if "=" not in first else ""
        pairs = optionlist.pairs(rest if kind else text)
        for key, _ in pairs:
            if not key[:1].isalpha():
                raise Fault(f"Invalid parameter '{key}'")
        given = {"qom-type": kind, **dict(pairs)} if kind else dict(pairs)
    kind = given.get("qom-type", "")
    if not kind:
        raise Fault("Parameter 'qom-type' is missing")
    if kind != "secret":
        raise Fault(f"Parameter 'qom-type' does not accept value '{kind}'")
    if "id" not in given:
        raise Fault("Parameter 'id' is missing")
    if not _identifies(given["id"]):
        raise Fault(
            "Parameter 'id' expects an identifier",
            "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
        )
    for key in given:
        if key not in PROPERTIES:
            raise Fault(f"Parameter '{key}' is unexpected")
    return given


def _identifies(text: str) -> bool:
    """Whether the text can be the id of an object."""
    return text.isascii() and text[:1].isalpha() and all(letter.isalnum() or letter in "-._" for letter in text)


def _json(text: str) -> dict[str, str]:
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Fault("JSON parse error, expecting value") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Fault("Invalid parameter type, expected: string")
    return found


def secret(given: Mapping[str, str], others: Keyring) -> bytearray:
    """What the definition says the secret is. Raises Fault."""
    if "data" in given and "file" in given:
        raise Fault("'file' and 'data' are mutually exclusive")
    if "file" in given:
        value = _read(given["file"])
    elif "data" in given:
        value = bytearray(os.fsencode(given["data"]))
    else:
        raise Fault("Either 'file' or 'data' must be provided")
    form = given.get("format", "raw")
    if form not in ("raw", "base64"):
        raise Fault(f"Parameter 'format' does not accept value '{form}'")
    if "keyid" in given:
        return _decrypted(given, value if form == "raw" else _base64(value), others)
    return _base64(value) if form == "base64" else value


def _read(path: str) -> bytearray:
    try:
        with open(path, "rb") as file:  # the user's own file; no image names it
            value = bytearray(file.read(MOST + 1))
    except OSError as error:
        raise Fault(f"Unable to read {path}: Failed to open file “{path}”: {os.strerror(error.errno or 0)}") from None
    if len(value) > MOST:
        raise Fault(f"Unable to read {path}: it is larger than {MOST} bytes")
    return value


def _base64(value: bytearray) -> bytearray:
    from base64 import b64decode

    try:
        return bytearray(b64decode(bytes(value).replace(b"\n", b""), validate=True))
    except ValueError:
        raise Fault("Base64 data contains invalid characters") from None


def _decrypted(given: Mapping[str, str], value: bytearray, others: Keyring) -> bytearray:
    """The secret that another one encrypts, which is a key of 32 bytes."""
    if "iv" not in given:
        raise Fault("IV is required to decrypt secret")
    if given["keyid"] not in others:
        raise Fault(f"No secret with id '{given['keyid']}'")
    key, vector = others.raw(given["keyid"]), _base64(bytearray(given["iv"].encode()))
    if len(key) != KEY_SIZE:
        raise Fault(f"Key should be {KEY_SIZE} bytes in length")
    if len(vector) != BLOCK:
        raise Fault(f"IV should be {BLOCK} bytes in length not {len(vector)}")
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise Fault("secrets with a keyid need the extra instar[crypto]") from None
    if len(value) % BLOCK or not value:
        raise Fault(f"Length {len(value)} must be a multiple of {BLOCK}")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(vector))).decryptor()
    plain = bytearray(decryptor.update(bytes(value)) + decryptor.finalize())
    padding = plain[-1]
    if not 0 < padding <= BLOCK or plain[-padding:] != bytes([padding]) * padding:
        raise Fault("Incorrect number of padding bytes found on decrypted data")
    del plain[-padding:]
    return plain


def hide(text: str) -> None:
    """The text does not show in this process's arguments any more, where others could read it (ps, /proc).

    Best effort: where the kernel does not let a process write its own memory, they stay as they are.
    """
    wanted = os.fsencode(text)
    if not wanted:
        return
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[ARGUMENTS - 3]), int(fields[ARGUMENTS - 2])
        with open("/proc/self/mem", "r+b", 0) as memory:
            memory.seek(start)
            words = memory.read(end - start)
            for form in (wanted, wanted.replace(b",", b",,")):
                at = words.find(form)
                while at >= 0:
                    memory.seek(start + at)
                    memory.write(b"*" * len(form))
                    at = words.find(form, at + len(form))
    except (OSError, ValueError, IndexError):
        return
