"""The hooks of the LUKS plugin: LUKS1 volumes read; LUKS2 is recognised and refused."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Coding, Extent, ImageInfo, KeyPlan, KeySlot, Kind, LayerKind, Match
from instar_core.luks1 import header
from instar_luks import limits
from instar_core.luks1.layout import MAGIC, SECTOR_SIZE, STRIPES, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from instar_core.source import Image
    from instar_core.types import Layer, ProbeView, Span


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A LUKS volume of any version: info refuses those that cannot be read, so that none passes for raw."""
    if not view.head.startswith(MAGIC):
        return None
    version = int.from_bytes(view.head[6 : VERSION.size], "big")
    return Match("luks", 100, f"version {version}")


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """Algorithms, key slots and size; content is blocked until a key is given."""
    found = header.read(image.main)
    return ImageInfo(
        format="luks",
        virtual_size=_virtual_size(image, found),
        codings=(_coding(found),),
        encrypted=True,
        blocked="Parameter 'key-secret' is required for cipher",
        details=_details(found),
    )


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Everything is data, encrypted sector by sector, in order from the payload offset on."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a LUKS volume has no snapshots and no bitmaps", kind=ErrorKind.UNSUPPORTED)
    found = header.read(image.main)
    at, end = span.start, span.start + span.length
    while at < end:
        # Cut at fixed places, so that the map of a window is the same as that part of the whole map.
        length = min(end - at, limits.EXTENT - at % limits.EXTENT)
        yield Extent(at, length, Kind.DATA, 0, found.payload_offset + at, stored=length, coding=1)
        at += length


@hookimpl
def instar_unlock(image: Image) -> KeyPlan:
    """The active key slots with their key material, and how the volume key is recognised.

    Raises FormatError (LIMIT) where the header asks for more work than limits.ITERATIONS.
    """
    found = header.read(image.main)
    _check_iterations("LUKS key", found.digest_iterations)
    slots, material = [], []
    for index, slot in enumerate(found.slots):
        if not slot.active:
            continue
        _check_iterations(f"Keyslot {index}", slot.iterations)
        # Material past the end of the file reads as zeros, which no passphrase opens.
        material.append(image.main.read(slot.offset, found.material_size, pad=True))
        slots.append(
            KeySlot(
                index=index,
                kdf="pbkdf2",
                params={"iterations": slot.iterations},
                salt=slot.salt,
                stripes=STRIPES,
                offset=slot.offset,
                length=found.material_size,
                cipher=found.cipher_spec,
                hash=found.algorithms.hash,
            )
        )
    check = {
        "hash": found.algorithms.hash,
        "salt": found.digest_salt,
        "iterations": found.digest_iterations,
        "digest": found.digest,
    }
    return KeyPlan(found.cipher_spec, found.key_bytes, tuple(slots), tuple(material), check)


def _check_iterations(what: str, iterations: int) -> None:
    if iterations > limits.ITERATIONS:
        raise FormatError(f"{what} iteration count {iterations} is more than {limits.ITERATIONS}", kind=ErrorKind.LIMIT)


def _coding(found: header.Header) -> Coding:
    params = {"cipher": found.cipher_spec, "key_size": found.key_bytes, "iv_base": 0}
    return Coding("cipher", unit=SECTOR_SIZE, whole=False, params=params)


def _virtual_size(image: Image, found: header.Header) -> int:
    """The file's size, up to a whole sector, less the payload's offset."""
    size = -(-image.main.size // SECTOR_SIZE) * SECTOR_SIZE - found.payload_offset
    if size < 0:
        raise FormatError(
            "Could not refresh total sector count: Input/output error",
            kind=ErrorKind.TRUNCATED,
            offset=found.payload_offset,
        )
    return size


def _details(found: header.Header) -> dict[str, Any]:
    """The format-specific facts, by qemu-img's names."""
    names = found.algorithms
    details: dict[str, Any] = {
        "ivgen-alg": names.iv,
        "detached-header": False,
        "hash-alg": names.hash,
        "cipher-alg": names.cipher,
        "uuid": found.uuid.decode("utf-8", "surrogateescape"),
    }
    if names.iv_hash:
        details["ivgen-hash-alg"] = names.iv_hash
    details["cipher-mode"] = names.mode
    details["slots"] = [_slot_details(slot) for slot in found.slots]
    details["payload-offset"] = found.payload_offset
    details["master-key-iters"] = found.digest_iterations
    return details


def _slot_details(slot: header.Slot) -> dict[str, Any]:
    if not slot.active:
        return {"active": False, "key-offset": slot.offset}
    return {"active": True, "iters": slot.iterations, "key-offset": slot.offset, "stripes": STRIPES}
