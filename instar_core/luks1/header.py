"""Reading a LUKS1 header: every field checked before any of it is used."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import algorithms
from instar_core.luks1.layout import (
    ALIGN_KEYSLOTS,
    HEADER_SIZE,
    KEY_DISABLED,
    KEY_ENABLED,
    KEY_SLOT,
    MAGIC,
    NUMKEYS,
    PHDR,
    SECTOR_SIZE,
    STRIPES,
    VERSION,
    material_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


WRAP = 0xFFFFFFFF
"""The size of key material and the sector after it have 32 bits, as in qemu-img, so that the same volumes are taken.
Nothing relies on them: key material is read with bounds of its own, and what is not key material opens nothing."""


DETACHED_AREA = 64 << 20
"""Bytes that a header without a payload may take: eight key slots for the longest keys take 16 MiB."""


class Slot(NamedTuple):
    """A key slot. `offset` is that of its key material, in bytes from the header's first."""

    active: bool
    iterations: int
    salt: bytes
    offset: int


class Header(NamedTuple):
    """A LUKS1 header whose fields are within their bounds. `payload_offset` is in bytes from the header's first."""

    cipher_spec: str
    algorithms: algorithms.Algorithms
    payload_offset: int
    key_bytes: int
    digest: bytes
    digest_salt: bytes
    digest_iterations: int
    uuid: bytes
    slots: tuple[Slot, ...]
    detached: bool = False

    @property
    def material_size(self) -> int:
        """Bytes of key material that a slot holds: the split key, up to a whole sector."""
        return material_size(self.key_bytes)

    def holds(self, index: int) -> bool:
        """Whether the key material of this slot lies in the header's own area, so that it may be written. One that is
        read may lie anywhere: see WRAP."""
        end = DETACHED_AREA if self.detached else self.payload_offset
        return ALIGN_KEYSLOTS <= self.slots[index].offset <= end - self.material_size


def read(source: Source, base: int = 0, *, detached: bool = False) -> Header:
    """The header that stands at `base`, to which its own offsets are relative. What is missing of a short file reads
    as zeros. One that is `detached` does not lie before its payload, whose offset is then in another file.

    Raises FormatError with qemu-img's words, and in its order of checks.
    """
    try:
        return parse(source.read(base, HEADER_SIZE, pad=True), detached=detached)
    except FormatError as error:
        if error.offset is not None:
            error.offset += base
        raise


def parse(data: bytes, *, detached: bool = False) -> Header:
    """The header of these HEADER_SIZE bytes. Raises FormatError as read() does, with offsets from its first byte."""
    magic, version = VERSION.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("Volume is not in LUKS format", offset=0)
    if version != 1:
        raise FormatError(f"LUKS version {version} is not supported", kind=ErrorKind.UNSUPPORTED, offset=6)
    _, _, name, mode, spec, payload, key_bytes, digest, salt, iterations, uuid = PHDR.unpack_from(data)
    cipher_name = _text(name, "cipher name", 8)
    cipher_mode = _text(mode, "cipher mode", 40)
    hash_spec = _text(spec, "hash spec", 72)
    if not detached and payload * SECTOR_SIZE < ALIGN_KEYSLOTS:
        raise FormatError("LUKS payload is overlapping with the header", kind=ErrorKind.CORRUPT, offset=104)
    if iterations == 0:
        raise FormatError("LUKS key iteration count is zero", kind=ErrorKind.CORRUPT, offset=164)
    slots = _slots(data, key_bytes, None if detached else payload)
    return Header(
        f"{cipher_name}-{cipher_mode}",
        algorithms.parse(cipher_name, cipher_mode, hash_spec, key_bytes),
        payload * SECTOR_SIZE,
        key_bytes,
        digest,
        salt,
        iterations,
        uuid.partition(b"\0")[0],
        slots,
        detached,
    )


def _text(field: bytes, what: str, offset: int) -> str:
    text, end, _ = field.partition(b"\0")
    if not end:
        raise FormatError(f"LUKS header {what} is not NUL terminated", offset=offset)
    return text.decode("utf-8", "surrogateescape")


def _slots(data: bytes, key_bytes: int, payload: int | None) -> tuple[Slot, ...]:
    """The key slots, none of which overlaps the header, the payload (its first sector) or another one."""
    fields = list(KEY_SLOT.iter_unpack(data[PHDR.size : HEADER_SIZE]))
    places = [(start, _sectors(key_bytes * stripes & WRAP)) for _, _, _, start, stripes in fields]
    for index, (active, iterations, _, start, stripes) in enumerate(fields):
        other = _overlapped(index, places)
        if stripes != STRIPES:
            message = f"Keyslot {index} is corrupted (stripes {stripes} != {STRIPES})"
        elif active not in (KEY_DISABLED, KEY_ENABLED):
            message = f"Keyslot {index} state (active/disable) is corrupted"
        elif active == KEY_ENABLED and iterations == 0:
            message = f"Keyslot {index} iteration count is zero"
        elif start < ALIGN_KEYSLOTS // SECTOR_SIZE:
            message = f"Keyslot {index} is overlapping with the LUKS header"
        elif payload is not None and sum(places[index]) & WRAP > payload:
            message = f"Keyslot {index} is overlapping with the encrypted payload"
        elif other is not None:
            message = f"Keyslots {index} and {other} are overlapping in the header"
        else:
            continue
        raise FormatError(message, kind=ErrorKind.CORRUPT, offset=PHDR.size + index * KEY_SLOT.size)
    return tuple([Slot(f[0] == KEY_ENABLED, f[1], f[2], f[3] * SECTOR_SIZE) for f in fields])


def _sectors(split_size: int) -> int:
    """Sectors that key material of this size takes."""
    return -(-split_size // ALIGN_KEYSLOTS) * (ALIGN_KEYSLOTS // SECTOR_SIZE)


def _overlapped(index: int, places: list[tuple[int, int]]) -> int | None:
    """The first later slot whose key material shares sectors with that of this one."""
    first, last = _range(*places[index])
    for other in range(index + 1, NUMKEYS):
        other_first, other_last = _range(*places[other])
        if first <= other_last and other_first <= last:
            return other
    return None


def _range(start: int, sectors: int) -> tuple[int, int]:
    """First and last sector; nothing at sector 0 ends, as in qemu-img, at the last sector of all."""
    return start, start + sectors - 1 if start or sectors else (1 << 64) - 1
