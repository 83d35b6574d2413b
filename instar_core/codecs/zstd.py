"""Zstandard (RFC 8878), as in qcow2 images of compression type 1.

The zstandard package does the work, or from Python 3.14 on the standard library. Neither is let make more than a unit,
whatever the size that a frame claims for its content.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError, NotInstalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

    from instar_core.codecs import Code

LEVEL = 3
"""QEMU's own, so that what it makes is neither larger nor smaller, whatever the effort."""
WINDOW_LOG = 24
"""Largest window that is accepted: QEMU's encoder stays below 8 MiB."""


def decoder(params: Mapping[str, Any], unit: int) -> Code:
    """A decoder that accepts exactly one unit, in one frame or several, followed by anything."""
    del params
    fill, failure = _package() or _standard() or _missing()

    def decode(stored: memoryview, out: memoryview, number: int) -> int:
        del number
        try:
            made = fill(stored, out[:unit])
        except failure as error:
            raise FormatError(f"compressed data is corrupt: {error}", kind=ErrorKind.CORRUPT) from error
        if made != unit:
            raise FormatError(f"compressed data ends after {made} of {unit} bytes", kind=ErrorKind.CORRUPT)
        return unit

    return decode


def encoder(params: Mapping[str, Any], unit: int) -> Code:
    """An encoder to one frame that says the size of its content."""
    del unit
    compress = _compressor(params.get("level", LEVEL))

    def encode(content: memoryview, out: memoryview, number: int) -> int:
        del number
        stored = compress(content)
        if len(stored) > len(out):
            return 0
        out[: len(stored)] = stored
        return len(stored)

    return encode


def _missing() -> Any:
    raise NotInstalled("zstd needs a library that is not installed: install instar[zstd]")


def _zstandard() -> ModuleType | None:
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard


def _python() -> ModuleType | None:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return zstd  # type: ignore[no-any-return,unused-ignore]


def _package() -> tuple[Callable[[memoryview, memoryview], int], type[Exception]] | None:
    """What fills the room from the stored bytes, by the zstandard package, and its error."""
    library = _zstandard()
    if library is None:
        return None
    engine = library.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)

    def fill(stored: memoryview, out: memoryview) -> int:
        made: int = engine.stream_reader(stored, read_across_frames=False).readinto(out)
        if made == len(out):
            return made
        reader = engine.stream_reader(stored, read_across_frames=True)
        made = 0
        while made < len(out):
            more = reader.readinto(out[made:])
            if not more:
                break
            made += more
        return made

    return fill, library.ZstdError


def _standard() -> tuple[Callable[[memoryview, memoryview], int], type[Exception]] | None:
    """The same by the standard library."""
    library = _python()
    if library is None:
        return None
    options = {library.DecompressionParameter.window_log_max: WINDOW_LOG}

    def fill(stored: memoryview, out: memoryview) -> int:
        made = 0
        source: memoryview | bytes = stored
        while made < len(out) and source:
            engine = library.ZstdDecompressor(options=options)
            content = engine.decompress(source, len(out) - made)
            while content:
                out[made : made + len(content)] = content
                made += len(content)
                if engine.eof or made == len(out):
                    break
                content = engine.decompress(b"", len(out) - made)
            source = engine.unused_data if engine.eof else b""
        return made

    return fill, library.ZstdError


def _compressor(level: int) -> Callable[[memoryview], bytes]:
    library = _zstandard()
    if library is not None:
        compress: Callable[[memoryview], bytes] = library.ZstdCompressor(level=level).compress
        return compress
    standard = _python() or _missing()
    return lambda content: standard.compress(content, level)  # type: ignore[no-any-return,unused-ignore]
