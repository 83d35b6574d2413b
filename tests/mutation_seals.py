"""Checksums made right again after a change, so that a change gets past them."""

from __future__ import annotations

import hashlib
import importlib
from typing import TYPE_CHECKING

from instar_core.testing import hostile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instar_core.testing.hostile import Mutation
    from instar_core.testing.medium import Medium

    Seal = tuple[int, int, int, Callable[[bytes], bytes]]
    """Start and length of what is summed, where in it the sum lies, and the sum of the bytes."""


def vpc(medium: Medium) -> Iterator[Seal]:
    """Footers and header."""
    at = importlib.import_module("instar_vpc.layout")

    def summed(place: int) -> Callable[[bytes], bytes]:
        return lambda data: at.checksum(data, place).to_bytes(4, "big")

    for start in (0, medium.size - 512):
        if medium.pread(8, start) == at.COOKIE:
            yield start, 512, at.FOOTER_CHECKSUM, summed(at.FOOTER_CHECKSUM)
    if medium.pread(8, 0) == at.COOKIE:
        start = int.from_bytes(medium.pread(8, 16), "big")
        yield start, at.HEADER_SIZE, at.HEADER_CHECKSUM, summed(at.HEADER_CHECKSUM)


def vhdx(medium: Medium) -> Iterator[Seal]:
    """Headers, region tables and entries of the log."""
    at = importlib.import_module("instar_vhdx.layout")
    crc = importlib.import_module("instar_vhdx.crc")

    def summed(data: bytes) -> bytes:
        return crc.crc32c(data[:4] + bytes(4) + data[8:]).to_bytes(4, "little")

    yield from ((start, at.HEADER_SIZE, 4, summed) for start in at.HEADERS)
    yield from ((start, at.REGION_TABLE_SIZE, 4, summed) for start in at.REGION_TABLES)
    head = at.HEADER.unpack(medium.pread(at.HEADER.size, at.HEADERS[0]))
    for start in range(head[9], head[9] + head[8], at.LOG_SECTOR):
        if medium.pread(4, start) == at.LOG_MAGIC:
            yield start, int.from_bytes(medium.pread(4, start + 8), "little"), 4, summed


def luks(medium: Medium) -> Iterator[Seal]:
    """Both headers of LUKS2."""
    if medium.pread(2, 6) != b"\0\2":
        return
    size = int.from_bytes(medium.pread(8, 8), "big")

    def summed(data: bytes) -> bytes:
        name = data[72:104].rstrip(b"\0").decode("latin-1")
        if name not in ("sha256", "sha512", "sha384"):
            return b""
        return hashlib.new(name, data[:448] + bytes(64) + data[512:]).digest()

    yield from ((start, size, 448, summed) for start in (0, size))


def parallels(medium: Medium) -> Iterator[Seal]:
    """The cluster of the format extension."""
    at = importlib.import_module("instar_parallels.layout")
    head = at.Header._make(at.HEADER.unpack(medium.pread(at.HEADER.size, 0)))
    if head.ext_off:
        yield head.ext_off * at.SECTOR, head.tracks * at.SECTOR, 8, lambda data: hashlib.md5(data[24:]).digest()


SEALS: dict[str, Callable[[Medium], Iterator[Seal]]] = {"vpc": vpc, "vhdx": vhdx, "luks": luks, "parallels": parallels}
"""By the names of the formats."""


def sealed(media: Sequence[Medium], seals: Sequence[Seal], made: Mutation) -> Mutation:
    """The change with the sums of all that it touches made right."""
    if made.size is not None:
        return made
    changed = hostile.apply(media, made)[made.device]
    more = []
    for start, length, place, summed in seals:
        if any(offset < start + length and offset + len(data) > start for offset, data in made.patches):
            if any(offset == start + place for offset, _ in made.patches):
                continue  # the sum itself is what was changed
            more.append((start + place, summed(changed.pread(length, start))))
    return made._replace(title=f"{made.title}, summed", patches=(*made.patches, *more)) if more else made
