"""What the metadata of a LUKS2 header say, every object checked before any of it is used."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_luks import limits
from instar_luks.luks2.fields import Object, wrong
from instar_luks.luks2.layout import SECTOR_SIZE, SECTOR_SIZES, STRIPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_luks.luks2.copies import Copy
else:
    from instar_core.record import NamedTuple

LUKS2, CRYPT, PBKDF2 = "luks2", "crypt", "pbkdf2"
ARGON2 = ("argon2i", "argon2id")
IGNORED, NORMAL, PREFERRED = 0, 1, 2
"""Priorities of key slots."""


class Slot(NamedTuple):
    """A key slot: its volume key's size, its key material (bytes from the header's first) and how a passphrase opens
    it. `params` are as in KeySlot. One that holds no key of ours has a kind that is not luks2, and only a place."""

    kind: str
    offset: int
    length: int
    key_size: int = 0
    priority: int = NORMAL
    af_hash: str = ""
    cipher: str = ""
    cipher_key_size: int = 0
    kdf: str = ""
    params: Mapping[str, Any] = {}
    salt: bytes = b""


class Digest(NamedTuple):
    """How a volume key is recognised, and which key slots and segments it belongs to."""

    hash: str
    iterations: int
    salt: bytes
    digest: bytes
    slots: tuple[int, ...]
    segments: tuple[int, ...]


class Segment(NamedTuple):
    """The encrypted payload. `length` is None where it goes on to the end of the file."""

    offset: int
    length: int | None
    iv_tweak: int
    cipher: str
    sector_size: int


class Token(NamedTuple):
    """Something from which a passphrase can be had."""

    kind: str
    slots: tuple[int, ...]


class Metadata(NamedTuple):
    """All of it. `number` is that of the one digest that recognises the segment's key."""

    slots: dict[int, Slot]
    digests: dict[int, Digest]
    segment: Segment
    number: int
    tokens: dict[int, Token]
    flags: tuple[str, ...]
    keyslots_size: int

    @property
    def digest(self) -> Digest:
        """The digest of the segment."""
        return self.digests[self.number]

    @property
    def bound(self) -> tuple[int, ...]:
        """The key slots of the segment's key, in the order in which they are tried."""
        found = [number for number in self.digest.slots if self.slots[number].kind == LUKS2]
        # Those to be ignored are tried last: nobody can ask for one here by its number.
        return tuple(sorted(found, key=lambda number: (-self.slots[number].priority, number)))

    @property
    def key_size(self) -> int:
        """Bytes of the volume key; 0 where no key slot is left to tell."""
        return next((self.slots[number].key_size for number in self.bound), 0)


def parse(copy: Copy) -> Metadata:
    """The metadata of this copy. Raises FormatError (UNSUPPORTED) for what is well formed and not known."""
    top = Object(copy.json, "the header")
    config = top.object("config")
    _refuse_requirements(config)
    slots = {number: _slot(found) for number, found in top.numbered("keyslots")}
    digests = {number: _digest(found) for number, found in top.numbered("digests")}
    tokens = {number: Token(found.text("type"), found.indices("keyslots")) for number, found in top.numbered("tokens")}
    segments = dict(top.numbered("segments"))
    for number, digest in digests.items():
        if [index for index in digest.slots if index not in slots]:
            raise wrong(f"digest {number} names a keyslot that is not there")
        if [index for index in digest.segments if index not in segments]:
            raise wrong(f"digest {number} names a segment that is not there")
    if len(segments) != 1:
        raise FormatError(f"LUKS2 volume with {len(segments)} segments is not supported", kind=ErrorKind.UNSUPPORTED)
    which, segment = next(iter(segments.items()))
    number = _digest_of(which, digests)
    if config.long("keyslots_size") > limits.KEYSLOTS:
        raise FormatError(f"the keyslots area has more than {limits.KEYSLOTS} bytes", kind=ErrorKind.LIMIT)
    sizes = {slots[index].key_size for index in digests[number].slots if slots[index].kind == LUKS2}
    if len(sizes) > 1:
        raise wrong("the keyslots of the segment hold keys of several sizes")
    return Metadata(
        slots, digests, _segment(segment), number, tokens, config.names("flags"), config.long("keyslots_size")
    )


def _refuse_requirements(config: Object) -> None:
    if "requirements" not in config.values:
        return
    for name in config.object("requirements").names("mandatory"):
        raise FormatError(f"LUKS2 requirement '{name:.40}' not supported", kind=ErrorKind.UNSUPPORTED)


def _digest_of(segment: int, digests: Mapping[int, Digest]) -> int:
    found = [number for number, digest in digests.items() if segment in digest.segments]
    if len(found) != 1:
        raise wrong(f"segment {segment} has {len(found)} digests")
    return found[0]


def _slot(found: Object) -> Slot:
    area = found.object("area")
    place = area.long("offset"), area.long("size")
    if place[1] > limits.KEYSLOTS:
        raise FormatError(f"the area of {found.name} has more than {limits.KEYSLOTS} bytes", kind=ErrorKind.LIMIT)
    kind = found.text("type")
    if kind != LUKS2:
        return Slot(kind, *place)
    key_size = found.number("key_size", 1)
    splitter = found.object("af")
    if area.text("type") != "raw" or splitter.text("type") != "luks1":
        raise FormatError(f"{found.name} has an area or stripes of an unknown type", kind=ErrorKind.UNSUPPORTED)
    if splitter.number("stripes") != STRIPES:
        raise wrong(f"{found.name} has {splitter.number('stripes')} stripes")
    if key_size > limits.KEY_SIZE or area.number("key_size", 1) > limits.KEY_SIZE:
        raise FormatError(f"{found.name} has a key of more than {limits.KEY_SIZE} bytes", kind=ErrorKind.LIMIT)
    if place[1] < key_size * STRIPES:
        raise wrong(f"the area of {found.name} is too small")
    derivation = found.object("kdf")
    return Slot(
        kind,
        *place,
        key_size=key_size,
        priority=found.number("priority") if "priority" in found.values else NORMAL,
        af_hash=splitter.text("hash"),
        cipher=area.text("encryption"),
        cipher_key_size=area.number("key_size"),
        kdf=derivation.text("type"),
        params=_params(derivation),
        salt=derivation.octets("salt"),
    )


def _params(derivation: Object) -> dict[str, Any]:
    kdf = derivation.text("type")
    if kdf == PBKDF2:
        return {"hash": derivation.text("hash"), "iterations": derivation.number("iterations", 1)}
    if kdf in ARGON2:
        return {
            "iterations": derivation.number("time", 1),
            "memory": derivation.number("memory", 1),
            "lanes": derivation.number("cpus", 1),
        }
    raise FormatError(f"Key derivation function '{kdf:.40}' not supported", kind=ErrorKind.UNSUPPORTED)


def _digest(found: Object) -> Digest:
    if found.text("type") != PBKDF2:
        raise FormatError(f"{found.name} is of an unknown type", kind=ErrorKind.UNSUPPORTED)
    made = found.octets("digest")
    if not 0 < len(made) <= 64:
        raise wrong(f"{found.name} has {len(made)} bytes")
    return Digest(
        found.text("hash"),
        found.number("iterations", 1),
        found.octets("salt"),
        made,
        found.indices("keyslots"),
        found.indices("segments"),
    )


def _segment(found: Object) -> Segment:
    kind = found.text("type")
    if kind != CRYPT or "integrity" in found.values:
        what = f"type '{kind:.40}'" if kind != CRYPT else "integrity protection"
        raise FormatError(f"LUKS2 segment with {what} is not supported", kind=ErrorKind.UNSUPPORTED)
    size = found.number("sector_size")
    if size not in SECTOR_SIZES:
        raise wrong(f"{found.name} has sectors of {size} bytes")
    length = None if found.text("size") == "dynamic" else found.long("size")
    offset = found.long("offset")
    if offset % SECTOR_SIZE or (length or 0) % size:
        raise wrong(f"{found.name} does not consist of whole sectors")
    return Segment(offset, length, found.long("iv_tweak"), found.text("encryption"), size)
