"""The two copies of a LUKS2 header: each checked by itself, the newer one used."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_luks.luks2 import checksum, jsontext
from instar_luks.luks2.layout import (
    BINARY,
    BINARY_SIZE,
    CSUM_OFFSET,
    CSUM_SIZE,
    MAGIC_1ST,
    MAGIC_2ND,
    SIZES,
    VERSION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Copy(NamedTuple):
    """A copy of the header that is whole: its place and size in bytes, its sequence number and texts, its JSON."""

    offset: int
    size: int
    seqid: int
    label: bytes
    checksum: str
    uuid: bytes
    subsystem: bytes
    json: dict[str, Any]

    @property
    def primary(self) -> bool:
        """Whether it is the first copy."""
        return self.offset == 0


class Pair(NamedTuple):
    """Both copies; in place of one that cannot be used, why."""

    first: Copy | FormatError
    second: Copy | FormatError

    @property
    def used(self) -> Copy:
        """The newer one; the first where they are equal. Raises what is wrong with the first where there is none."""
        if isinstance(self.first, FormatError):
            if isinstance(self.second, FormatError):
                raise self.first
            return self.second
        if isinstance(self.second, FormatError) or self.second.seqid <= self.first.seqid:
            return self.first
        return self.second

    @property
    def behind(self) -> bool:
        """Whether the copy that is not used cannot be used, or is older. Raises what is wrong where neither can."""
        used = self.used
        other = self.second if used is self.first else self.first
        return isinstance(other, FormatError) or other.seqid != used.seqid


def read(source: Source) -> Pair:
    """Both copies. The second is looked for where the first ends, or at all places where it could be."""
    first = _attempt(source, 0)
    if isinstance(first, Copy):
        return Pair(first, _attempt(source, first.size))
    for size in SIZES:
        if source.read(size, len(MAGIC_2ND), pad=True) == MAGIC_2ND:
            second = _attempt(source, size)
            if isinstance(second, Copy):
                return Pair(first, second)
    return Pair(first, FormatError("there is no second copy", kind=ErrorKind.CORRUPT))


def has_second(source: Source) -> bool:
    """Whether the file holds the second copy of a LUKS2 header at a place where one can be."""
    return any(source.read(size, len(MAGIC_2ND), pad=True) == MAGIC_2ND for size in SIZES)


def _attempt(source: Source, offset: int) -> Copy | FormatError:
    try:
        return parse(source, offset)
    except FormatError as error:
        return error


def parse(source: Source, offset: int) -> Copy:
    """The copy that stands at `offset`. Raises FormatError."""
    fields = source.unpack(BINARY, offset, pad=True)
    magic, version, size, seqid, label, algorithm, _, uuid, subsystem, place, _, stored = fields
    if magic != (MAGIC_2ND if offset else MAGIC_1ST):
        raise FormatError("Volume is not in LUKS format", offset=offset)
    if version != VERSION:
        raise FormatError(f"LUKS version {version} is not supported", kind=ErrorKind.UNSUPPORTED, offset=offset + 6)
    if size not in SIZES or (offset and size != offset):
        raise FormatError(f"LUKS2 header size {size} is not possible", kind=ErrorKind.CORRUPT, offset=offset + 8)
    if place != offset:
        text = f"LUKS2 header says that it lies at {place}"
        raise FormatError(text, kind=ErrorKind.CORRUPT, offset=offset + 256)
    data = bytearray(source.read(offset, size, pad=True))
    data[CSUM_OFFSET : CSUM_OFFSET + CSUM_SIZE] = bytes(CSUM_SIZE)
    name = _cut(algorithm).decode("ascii", "replace")
    made = checksum.digest(name, bytes(data))
    if stored[: len(made)] != made:
        raise FormatError("LUKS2 header checksum does not match", kind=ErrorKind.CORRUPT, offset=offset + CSUM_OFFSET)
    area, end, _ = bytes(data[BINARY_SIZE:]).partition(b"\0")
    if not end:
        raise FormatError("LUKS2 metadata is not NUL terminated", kind=ErrorKind.CORRUPT, offset=offset + BINARY_SIZE)
    json = jsontext.loads(area)
    if not isinstance(json, dict):
        raise FormatError("LUKS2 metadata is no object", kind=ErrorKind.CORRUPT, offset=offset + BINARY_SIZE)
    return Copy(offset, size, seqid, _cut(label), name, _cut(uuid), _cut(subsystem), json)


def build(copy: Copy, offset: int, salt: bytes) -> bytes:
    """The bytes of a copy of this header that is to lie at `offset`. Raises FormatError (LIMIT) where the metadata are
    too long for it."""
    text = jsontext.dumps(copy.json)
    if len(text) >= copy.size - BINARY_SIZE:
        raise FormatError("LUKS2 metadata do not fit in their area", kind=ErrorKind.LIMIT)
    made = bytearray(
        BINARY.pack(
            MAGIC_2ND if offset else MAGIC_1ST,
            VERSION,
            copy.size,
            copy.seqid,
            copy.label,
            copy.checksum.encode(),
            salt,
            copy.uuid,
            copy.subsystem,
            offset,
            b"",
            b"",
        )
    )
    made += bytes(BINARY_SIZE - BINARY.size) + text.ljust(copy.size - BINARY_SIZE, b"\0")
    made[CSUM_OFFSET : CSUM_OFFSET + CSUM_SIZE] = checksum.digest(copy.checksum, bytes(made)).ljust(CSUM_SIZE, b"\0")
    return bytes(made)


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
