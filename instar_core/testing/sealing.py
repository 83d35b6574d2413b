"""Encrypted images in the kit: one passphrase and one key for all of them, sealed and opened as a host would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_core import codecs, keys, sealing
from instar_core.settings import Settings

if TYPE_CHECKING:
    from instar_core.testing.subject import Subject
    from instar_core.types import Coding, Copy, Create, ImageInfo

PASSPHRASE = b"conformance"
KEY = bytes(range(1, 255))
INLINE = Settings(sandbox="inline")


def sealed(subject: Subject, request: Create) -> Create:
    """The request with its key slots made, where its options name a secret."""
    if sealing.secret(request.options) is None or not subject.implements("instar_seal"):
        return request
    order = sealing.hurried(subject.seal(request))
    return request._replace(keys=keys.seal(order, PASSPHRASE, key(order.key_size), INLINE))


def key(size: int) -> bytes:
    """The key of all images that are encrypted with keys of this size."""
    return KEY[:size]


def encrypted(cipher: Coding, edit: Copy, content: bytes) -> bytes:
    """What a host writes for a copy of this content: whole sectors, numbered as the cipher says."""
    stored = content.ljust(-(-len(content) // cipher.unit) * cipher.unit, b"\0")
    room = bytearray(len(stored))
    first = (edit.offset if cipher.params.get("by") == "offset" else edit.start) // cipher.unit
    code = codecs.encoder(cipher.name)(_keyed(cipher).params, cipher.unit)
    code(memoryview(stored), memoryview(room), first * cipher.params.get("iv_step", 1))
    return bytes(room)


def unlocked(info: ImageInfo) -> ImageInfo:
    """The image with the kit's key, where it is encrypted."""
    if not info.encrypted:
        return info
    return info._replace(codings=tuple([_keyed(c) if c.name == keys.CIPHER else c for c in info.codings]))


def _keyed(coding: Coding) -> Coding:
    return coding._replace(params={**coding.params, "key": key(coding.params["key_size"])})
