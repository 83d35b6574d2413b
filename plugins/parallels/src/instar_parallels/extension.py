"""The Format Extension: a cluster of features, of which dirty bitmaps are the one that is known."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Bitmap
from instar_parallels import limits
from instar_parallels.layout import (
    ALL_SET,
    BITMAP,
    DIRTY_BITMAP,
    END_OF_FEATURES,
    EXTENSION,
    EXTENSION_MAGIC,
    FEATURE,
    SECTOR,
)

try:
    # hashlib would bring OpenSSL along; the sum is against damage only.
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:  # an interpreter that was built without it
    from hashlib import md5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Stored(NamedTuple):
    """A dirty bitmap, where its clusters lie, in bytes, and its L1 table: places in bytes, ALL_CLEAR or ALL_SET."""

    bitmap: Bitmap
    places: tuple[int, ...]
    table: tuple[int, ...]


def bitmaps(source: Source, offset: int, cluster: int, sectors: int) -> tuple[Stored, ...]:
    """The bitmaps of the Format Extension at `offset`, for a disk of so many sectors.

    Raises FormatError, in qemu's words, for an extension that is damaged or not understood.
    """
    if cluster > limits.EXTENSION:
        raise FormatError(
            f"Format Extension cluster of {cluster} bytes is too large", kind=ErrorKind.LIMIT, offset=offset
        )
    data = source.read(offset, cluster, pad=True)
    magic, digest = EXTENSION.unpack_from(data)
    if magic != EXTENSION_MAGIC:
        raise FormatError(
            f"Wrong parallels Format Extension magic: {magic:#x}, expected: {EXTENSION_MAGIC:#x}", offset=offset
        )
    if md5(memoryview(data)[EXTENSION.size :], usedforsecurity=False).digest() != digest:
        raise FormatError(
            "Wrong checksum in Format Extension header. Format extension is corrupted.",
            kind=ErrorKind.CORRUPT,
            offset=offset,
        )
    return _features(data, offset, cluster, sectors)


def _features(data: bytes, offset: int, cluster: int, sectors: int) -> tuple[Stored, ...]:
    made: dict[str, Stored] = {}
    at = EXTENSION.size
    while at + FEATURE.size <= len(data):
        magic, flags, size, _ = FEATURE.unpack_from(data, at)
        here = offset + at
        at += FEATURE.size
        if flags:
            raise FormatError(
                "Flags for extension feature are unsupported", kind=ErrorKind.UNSUPPORTED, offset=here + 8
            )
        if size > len(data) - at:
            raise FormatError("Feature data_size exceedes Format Extension cluster", offset=here + 16)
        if magic == END_OF_FEATURES:
            return tuple(made.values())
        if magic != DIRTY_BITMAP:
            raise FormatError(f"Unknown feature: {magic:#x}", kind=ErrorKind.UNSUPPORTED, offset=here)
        one = _bitmap(data[at : at + size], here, cluster, sectors)
        if one.bitmap.name in made:
            raise FormatError(f"Bitmap already exists: {one.bitmap.name}", offset=here)
        if len(made) >= limits.BITMAPS:
            raise FormatError(f"more than {limits.BITMAPS} bitmaps", kind=ErrorKind.LIMIT, offset=here)
        made[one.bitmap.name] = one
        at += -(-size // 8) * 8
    raise FormatError("The features of the Format Extension have no end", offset=offset)


def _bitmap(data: bytes, offset: int, cluster: int, sectors: int) -> Stored:
    if len(data) < BITMAP.size:
        raise FormatError(
            f"Too small Bitmap Feature area in Parallels Format Extension: {len(data)} bytes, "
            f"expected at least {BITMAP.size} bytes",
            offset=offset,
        )
    size, name, granularity, entries = BITMAP.unpack_from(data)
    if size != sectors:
        raise FormatError(f"Bitmap size (in sectors) {size} differs from disk size in sectors {sectors}", offset=offset)
    if not 0 < granularity <= limits.GRANULARITY or granularity & (granularity - 1):
        raise FormatError(
            f"Bitmap granularity of {granularity} sectors is not a power of 2 up to {limits.GRANULARITY}",
            offset=offset,
        )
    bits = -(-size // granularity)
    wanted = -(-bits // (8 * cluster))
    if entries != wanted:
        raise FormatError(
            f"Bitmap table size {entries} does not correspond to bitmap size and cluster size. Expected {wanted}",
            offset=offset,
        )
    if BITMAP.size + 8 * entries > len(data):
        raise FormatError(f"A bitmap table of {entries} entries is longer than its feature", offset=offset)
    table = memoryview(data)[BITMAP.size : BITMAP.size + 8 * entries]
    places = (int.from_bytes(table[at : at + 8], "little") for at in range(0, len(table), 8))
    text = name.hex()
    uuid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    found = tuple([place * SECTOR if place > ALL_SET else place for place in places])
    return Stored(Bitmap(uuid, granularity * SECTOR), tuple([each for each in found if each > ALL_SET]), found)
