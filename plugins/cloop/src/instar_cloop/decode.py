"""Decoding a block: a zlib stream (RFC 1950) that makes exactly one block, or the block is corrupt."""

from __future__ import annotations

import zlib

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def decode(params: Mapping[str, Any], stored: bytes) -> bytes:
    """The block, of params["size"] bytes, its checksum right. Bytes after the stream do not count, as in qemu.

    Raises FormatError (CORRUPT) for a stream that breaks, ends early, or makes fewer bytes or more.
    """
    size: int = params["size"]
    engine = zlib.decompressobj()
    try:
        content = engine.decompress(stored, size)
        if len(content) == size and not engine.eof:
            # The stream's end, its checksum, is not looked at before somebody asks for one byte more.
            content += engine.decompress(engine.unconsumed_tail, 1)
    except zlib.error as error:
        raise FormatError(f"a compressed block is corrupt: {error}", kind=ErrorKind.CORRUPT) from error
    if len(content) != size or not engine.eof:
        raise FormatError(
            f"a compressed block makes {'more' if len(content) > size else 'fewer'} than {size} bytes",
            kind=ErrorKind.CORRUPT,
        )
    return content
