"""Checksums of LUKS2 headers, by the interpreter's own hashes: what hashlib imports would slow every start."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError

try:
    from _sha2 import sha256, sha384, sha512  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:  # Python 3.11
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
        from _sha512 import sha384, sha512  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256, sha384, sha512

HASHES = {"sha256": sha256, "sha384": sha384, "sha512": sha512}


def digest(name: str, data: bytes) -> bytes:
    """The checksum of the bytes. Raises FormatError (UNSUPPORTED) for a hash that is not known."""
    if name not in HASHES:
        raise FormatError(f"LUKS2 header checksum '{name}' not supported", kind=ErrorKind.UNSUPPORTED)
    made: bytes = HASHES[name](data).digest()
    return made
