"""Deflate (RFC 1951), bare as in qcow2 ("deflate-12") and in a zlib stream (RFC 1950) as in VMDK ("zlib").

qcow2 is written with a window of 12 bits, as QEMU does and as its readers may rely on; it is read with any window.
The fastest library that is installed does the work; all of them end with the standard library's word: what a fast one
refuses is tried again there, so that every installation accepts the same streams. Where the result is to be small,
qcow2 gets what QEMU itself would write, and VMDK a little less.
"""

from __future__ import annotations

import zlib

from instar_core.codecs import EFFORT, SMALL
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.codecs import Code

    Inflate = Callable[[memoryview, int], bytes | bytearray]
    Deflate = Callable[[memoryview], bytes | bytearray]

QCOW2_WINDOW = 12
LEVEL = 6
"""The standard library's own default, which is QEMU's; a level given in params overrides it."""
QCOW2_MEMORY = 9
"""What QEMU gives zlib for the clusters of qcow2: with the same level and window the result is the same."""
ISAL_LEVEL = 2
"""Within 11 % of QEMU's size at more than ten times its speed; 3 takes 1.7 times as long for 1.5 % of size."""
ZLIB_NG_LEVEL = 3
LIBDEFLATE_LEVEL = 3
LIBDEFLATE_SMALL = 6
"""The least level that makes no more than the standard library's default, in less than half of its time."""


def raw_decoder(params: Mapping[str, Any], unit: int) -> Code:
    """A decoder of bare deflate that accepts exactly one unit of content."""
    del params
    return _decoder(_raw_inflate(), -zlib.MAX_WBITS, unit, exact=True)


def zlib_decoder(params: Mapping[str, Any], unit: int) -> Code:
    """A decoder of zlib streams of at most a unit: the last grain of a VMDK may be shorter."""
    del params
    return _decoder(_zlib_inflate(), zlib.MAX_WBITS, unit, exact=False)


def _decoder(fast: Inflate | None, window: int, unit: int, *, exact: bool) -> Code:
    def decode(stored: memoryview, out: memoryview, number: int) -> int:
        del number
        content: bytes | bytearray | None = None
        if fast is not None:
            try:
                content = fast(stored, unit)
            except Exception:  # each library has errors of its own; the standard library decides below
                content = None
        if content is None or len(content) != unit:
            content = inflate(stored, window, unit)
        if exact and len(content) != unit:
            raise FormatError(f"compressed data ends after {len(content)} of {unit} bytes", kind=ErrorKind.CORRUPT)
        out[: len(content)] = content
        return len(content)

    return decode


def inflate(stored: memoryview, window: int, unit: int) -> bytes:
    """The first bytes, at most a unit, that the stream decodes to. FormatError (CORRUPT) where it breaks before."""
    engine = zlib.decompressobj(window)
    try:
        content = engine.decompress(stored, unit)
    except zlib.error as error:
        raise FormatError(f"compressed data is corrupt: {error}", kind=ErrorKind.CORRUPT) from error
    if len(content) < unit and not engine.eof:
        raise FormatError("compressed data ends too early", kind=ErrorKind.CORRUPT)
    return content


def _raw_inflate() -> Inflate | None:
    try:
        from deflate import deflate_decompress
    except ImportError:
        return None
    return deflate_decompress


def _zlib_inflate() -> Inflate | None:
    try:
        from deflate import zlib_decompress
    except ImportError:
        return None
    return zlib_decompress


def raw_encoder(params: Mapping[str, Any], unit: int) -> Code:
    """An encoder to bare deflate with a window of 12 bits."""
    del unit
    if params.get(EFFORT) == SMALL:
        return _encoder(_qemus_own(params))
    return _encoder(_isal_raw(params) or _zlib_like(params, -QCOW2_WINDOW))


def zlib_encoder(params: Mapping[str, Any], unit: int) -> Code:
    """An encoder to zlib streams."""
    del unit
    small = params.get(EFFORT) == SMALL
    made = _libdeflate(params, LIBDEFLATE_SMALL if small else LIBDEFLATE_LEVEL)
    return _encoder(made or _zlib_like(params, zlib.MAX_WBITS, small=small))


def _encoder(deflate: Deflate) -> Code:
    def encode(content: memoryview, out: memoryview, number: int) -> int:
        del number
        stored = deflate(content)
        if len(stored) > len(out):
            return 0
        out[: len(stored)] = stored
        return len(stored)

    return encode


def _qemus_own(params: Mapping[str, Any]) -> Deflate:
    """What QEMU does. None of the fast libraries makes as little with so small a window, or not for sure."""
    level = params.get("level", LEVEL)

    def deflate(content: memoryview) -> bytes:
        engine = zlib.compressobj(level, zlib.DEFLATED, -QCOW2_WINDOW, QCOW2_MEMORY)
        return engine.compress(content) + engine.flush()

    return deflate


def _isal_raw(params: Mapping[str, Any]) -> Deflate | None:
    try:
        from isal import igzip_lib
    except ImportError:
        return None
    level = min(params.get("level", ISAL_LEVEL), igzip_lib.ISAL_BEST_COMPRESSION)
    compress = igzip_lib.compress

    def deflate(content: memoryview) -> bytes:
        made: bytes = compress(content, level, igzip_lib.COMP_DEFLATE, igzip_lib.MEM_LEVEL_DEFAULT, QCOW2_WINDOW)
        return made

    return deflate


def _libdeflate(params: Mapping[str, Any], level: int) -> Deflate | None:
    # Never for qcow2: libdeflate knows no smaller window than 15 bits.
    try:
        from deflate import zlib_compress
    except ImportError:
        return None
    level = params.get("level", level)

    def deflate(content: memoryview) -> bytearray:
        return zlib_compress(content, level)

    return deflate


def _zlib_like(params: Mapping[str, Any], window: int, *, small: bool = False) -> Deflate:
    library: Any = zlib
    level = LEVEL
    if not small:
        try:
            from zlib_ng import zlib_ng

            library, level = zlib_ng, ZLIB_NG_LEVEL
        except ImportError:
            pass
    level = params.get("level", level)

    def deflate(content: memoryview) -> bytes:
        engine = library.compressobj(level, zlib.DEFLATED, window)
        made: bytes = engine.compress(content) + engine.flush()
        return made

    return deflate
