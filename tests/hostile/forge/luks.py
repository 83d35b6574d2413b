"""LUKS headers: big-endian. Version 1 in one sector and a bit, version 2 with its two copies and JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from struct import pack
from typing import Any

from ..case import Blob

MAGIC, SECOND = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
ACTIVE, DISABLED = 0x00AC71F3, 0x0000DEAD
FIELDS = {
    "version": (6, ">H"),
    "cipher": (8, ">32s"),
    "mode": (40, ">32s"),
    "hash": (72, ">32s"),
    "payload": (104, ">I"),
    "key_bytes": (108, ">I"),
    "digest": (112, ">20s"),
    "salt": (132, ">32s"),
    "iterations": (164, ">I"),
    "uuid": (168, ">40s"),
}
SLOT = ("state", "iterations", "salt", "material", "stripes")


def image(*, slots: Mapping[int, Mapping[str, Any]] | None = None, size: int = 4 << 20, **fields: Any) -> Blob:
    """A LUKS1 volume with one active slot, which nothing opens. `slots` replace fields by number."""
    own: dict[str, Any] = {
        "version": 1,
        "cipher": b"aes",
        "mode": b"xts-plain64",
        "hash": b"sha256",
        "payload": 4096,
        "key_bytes": 64,
        "salt": bytes(32),
        "iterations": 1000,
        "uuid": b"6d8a0b2f-2f4b-4bd4-a7a6-3c6a2a4b8d11",
    }
    own.update(fields)
    blob = Blob(size=size).put(0, MAGIC.ljust(592, b"\0"))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    for number in range(8):
        slot = {"state": DISABLED, "iterations": 0, "salt": b"", "material": 8 + 504 * number, "stripes": 4000}
        if not number:
            slot.update(state=ACTIVE, iterations=1000)
        slot.update((slots or {}).get(number, {}))
        blob.put(208 + 48 * number, pack(">II32sII", *(slot[name] for name in SLOT)))
    return blob.put(4096, b"\x5a" * 256000)


def metadata(**changes: Any) -> dict[str, Any]:
    """The JSON of a LUKS2 volume with one key slot. `changes` replace objects of its top, or add to them."""
    salt = base64.b64encode(bytes(32)).decode()
    made: dict[str, Any] = {
        "keyslots": {
            "0": {
                "type": "luks2",
                "key_size": 64,
                "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
                "area": {
                    "type": "raw",
                    "offset": "32768",
                    "size": "258048",
                    "encryption": "aes-xts-plain64",
                    "key_size": 64,
                },
                "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": salt},
            }
        },
        "tokens": {},
        "segments": {
            "0": {
                "type": "crypt",
                "offset": "16777216",
                "size": "dynamic",
                "iv_tweak": "0",
                "encryption": "aes-xts-plain64",
                "sector_size": 512,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2",
                "keyslots": ["0"],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": 1000,
                "salt": salt,
                "digest": salt,
            }
        },
        "config": {"json_size": "12288", "keyslots_size": "16744448"},
    }
    for key, value in changes.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) else value
    return made


def slot(part: str = "", **changes: Any) -> dict[str, Any]:
    """The key slot of metadata() with fields of it, or of one of its parts, replaced."""
    made: dict[str, Any] = metadata()["keyslots"]["0"]
    if not part:
        return {**made, **changes}
    return {**made, part: {**made[part], **changes}}


def copy(text: bytes, *, second: bool = False, size: int = 16384, length: int | None = None, **fields: Any) -> bytes:
    """One copy of a LUKS2 header, its checksum right."""
    offset = size if second else 0
    own: dict[str, Any] = {
        "version": 2,
        "offset": offset,
        "algorithm": b"sha256",
        "label": b"",
        "subsystem": b"",
        "seqid": 3,
    }
    own.update(fields)
    made = bytearray(
        pack(
            ">6sHQQ48s32s64s40s48sQ184s64s",
            SECOND if second else MAGIC,
            own["version"],
            size if length is None else length,
            own["seqid"],
            own["label"],
            own["algorithm"],
            bytes(64),
            b"6d8a0b2f-2f4b-4bd4-a7a6-3c6a2a4b8d11",
            own["subsystem"],
            own["offset"],
            b"",
            b"",
        ).ljust(4096, b"\0")
    )
    made += text.ljust(size - 4096, b"\0")
    made[448:512] = hashlib.sha256(made).digest().ljust(64, b"\0")
    return bytes(made)


def image2(text: bytes | None = None, *, size: int = 16384, file: int = 17 << 20, **fields: Any) -> Blob:
    """A LUKS2 volume, both copies of whose header have this metadata. `fields` are those of metadata() or copy()."""
    here = {key: value for key, value in fields.items() if key in metadata()}
    binary = {key: value for key, value in fields.items() if key not in here}
    if text is None:
        text = json.dumps(metadata(**here)).encode()
    blob = (
        Blob(size=file).put(0, copy(text, size=size, **binary)).put(size, copy(text, second=True, size=size, **binary))
    )
    return blob.put(32768, b"\x5a" * 258048) if size == 16384 else blob
