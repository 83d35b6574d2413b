"""Decoding chunks, in a codec worker. What a chunk decodes to is bounded by the largest chunk of its kind."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError, NotInstalled
from instar_dmg import adc, limits, lzfse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def decode(params: Mapping[str, Any], stored: bytes) -> bytes:
    """The content of one chunk, at most params["unit"] bytes; what there would be beyond them is not looked at.

    Raises FormatError (CORRUPT) for what does not decode, NotInstalled where the library is missing.
    """
    unit = params["unit"]
    kind = params["kind"]
    if kind == "bzip2":
        return _bzip2(stored, unit)
    if kind == "lzma":
        return _lzma(stored, unit)
    if kind == "lzfse":
        return lzfse.decode(stored, unit)
    if kind == "adc":
        return adc.decode(stored, unit)
    raise FormatError(f"unknown coding '{kind}'", kind=ErrorKind.UNSUPPORTED)


def _bzip2(stored: bytes, unit: int) -> bytes:
    try:
        import bz2
    except ImportError as error:
        raise NotInstalled("chunks in bzip2 need a Python that has the module bz2") from error
    try:
        return bz2.BZ2Decompressor().decompress(stored, unit)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"bzip2 data is corrupt: {error}", kind=ErrorKind.CORRUPT) from error


def _lzma(stored: bytes, unit: int) -> bytes:
    """A stream of xz, as hdiutil writes it, or of its predecessor."""
    try:
        import lzma
    except ImportError as error:
        raise NotInstalled("chunks in LZMA need a Python that has the module lzma") from error
    try:
        return lzma.LZMADecompressor(memlimit=limits.LZMA_MEMORY).decompress(stored, unit)
    except (lzma.LZMAError, ValueError, EOFError) as error:
        raise FormatError(f"LZMA data is corrupt: {error}", kind=ErrorKind.CORRUPT) from error
