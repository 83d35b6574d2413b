"""Header extensions. Source: docs/interop/qcow2.txt of QEMU, "Header extensions"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.header import Header
else:
    from instar_core.record import NamedTuple


class BitmapsExtension(NamedTuple):
    """Where the bitmap directory lies: its bytes, offset, and how many bitmaps it names."""

    number: int
    size: int
    offset: int


class Extensions(NamedTuple):
    """What the known extensions say. `crypto` is (offset, length) of the LUKS header.

    `stale_bitmaps` is set where a program without bitmap support has written to the image: its bitmaps do not count.
    """

    backing_format: str | None = None
    data_file: bytes | None = None
    crypto: tuple[int, int] | None = None
    bitmaps: BitmapsExtension | None = None
    stale_bitmaps: bool = False


NO_EXTENSIONS = Extensions()


def extension_records(source: Source, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, offset of the data, length) of each extension from `start` on, up to the end mark or `end`."""
    offset = start
    for _ in range(limits.EXTENSIONS):
        if offset >= end:
            return
        kind, length = source.unpack(layout.EXTENSION, offset, pad=True)
        offset += layout.EXTENSION.size
        if offset > end or length > end - offset:
            raise FormatError("Header extension too large", kind=ErrorKind.LIMIT, offset=offset - 4)
        if kind == layout.EXT_END:
            return
        yield kind, offset, length
        offset += length + 7 & ~7
    raise FormatError("Too many header extensions", kind=ErrorKind.LIMIT, offset=offset)


def feature_names(source: Source, start: int, end: int) -> dict[int, str]:
    """Names of incompatible features by bit, from the feature-name table; empty where there is none."""
    names: dict[int, str] = {}
    for kind, offset, length in extension_records(source, start, end):
        if kind == layout.EXT_FEATURE_NAMES:
            count = min(length // layout.FEATURE_NAME.size, limits.FEATURE_NAMES)
            for index in range(count):
                of, bit, name = source.unpack(layout.FEATURE_NAME, offset + index * layout.FEATURE_NAME.size, pad=True)
                if of == 0:
                    names.setdefault(bit, text(name))
    return names


def read_extensions(source: Source, header: Header, end: int) -> Extensions:
    """The known extensions between the header and `end`, validated; unknown ones are skipped."""
    found = NO_EXTENSIONS
    for kind, offset, length in extension_records(source, header.header_length, end):
        if kind == layout.EXT_BACKING_FORMAT:
            if length > limits.BACKING_FORMAT:
                raise FormatError(f"ERROR: ext_backing_format: len={length} too large (>=16)", offset=offset - 4)
            found = found._replace(backing_format=text(source.read(offset, length, pad=True)))
        elif kind == layout.EXT_DATA_FILE:
            if length > limits.DATA_FILE_NAME:
                raise FormatError("External data file name too long", kind=ErrorKind.LIMIT, offset=offset - 4)
            found = found._replace(data_file=source.read(offset, length, pad=True).partition(b"\0")[0])
        elif kind == layout.EXT_CRYPTO:
            found = found._replace(crypto=_crypto(source, header, offset, length))
        elif kind == layout.EXT_BITMAPS:
            bitmaps = _bitmaps(source, header, offset, length)
            found = found._replace(bitmaps=bitmaps, stale_bitmaps=bitmaps is None)
    return found


def _crypto(source: Source, header: Header, offset: int, length: int) -> tuple[int, int]:
    if header.crypt_method != layout.CRYPT_LUKS:
        raise FormatError("CRYPTO header extension only expected with LUKS encryption method", offset=offset - 8)
    if length != layout.CRYPTO.size:
        raise FormatError(
            f"CRYPTO header extension size {length}, but expected size {layout.CRYPTO.size}", offset=offset - 4
        )
    where, size = source.unpack(layout.CRYPTO, offset, pad=True)
    if where % header.cluster_size:
        raise FormatError(
            f"Encryption header offset '{where}' is not a multiple of cluster size '{header.cluster_size}'",
            offset=offset,
        )
    return where, size


def _bitmaps(source: Source, header: Header, offset: int, length: int) -> BitmapsExtension | None:
    if length != layout.BITMAPS.size:
        raise FormatError("bitmaps_ext: Invalid extension length", offset=offset - 4)
    if not header.autoclear_features & layout.AUTOCLEAR_BITMAPS:
        return None
    count, reserved, size, where = source.unpack(layout.BITMAPS, offset, pad=True)
    if reserved:
        raise FormatError("bitmaps_ext: Reserved field is not zero", offset=offset + 4)
    if count > limits.BITMAPS:
        raise FormatError(
            f"bitmaps_ext: Image has {count} bitmaps, exceeding the QEMU supported maximum of {limits.BITMAPS}",
            kind=ErrorKind.LIMIT,
            offset=offset,
        )
    if not count:
        raise FormatError("found bitmaps extension with zero bitmaps", offset=offset)
    if where % header.cluster_size:
        raise FormatError("bitmaps_ext: invalid bitmap directory offset", offset=offset + 16)
    if size > limits.BITMAP_DIRECTORY:
        raise FormatError(
            f"bitmaps_ext: bitmap directory size ({size}) exceeds the maximum supported size "
            f"({limits.BITMAP_DIRECTORY})",
            kind=ErrorKind.LIMIT,
            offset=offset + 8,
        )
    return BitmapsExtension(count, size, where)


def text(stored: bytes) -> str:
    """A stored string: up to its first NUL; bytes that are no UTF-8 stay as surrogate escapes."""
    return stored.partition(b"\0")[0].decode("utf-8", "surrogateescape")
