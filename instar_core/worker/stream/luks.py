"""The header of a LUKS volume, and which pieces it takes to decrypt its first sector."""

from __future__ import annotations

from struct import Struct

from instar_core import limits
from instar_core.luks1 import layout
from instar_core.worker.stream.words import Verdict, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

NAMES = (
    "magic",
    "version",
    "cipher_alg",
    "cipher_mode",
    "hash",
    "payload_offset",
    "key_bytes",
    "mk_digest",
    "mk_digest_salt",
    "mk_digest_iter",
)
FIELDS = Struct(">6sH32s32s32sII20s32sI")
SUPPORTED = 1


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """Safe is version 1. With the option `inner` the first active key slot's material and the first sector of the
    payload are wanted, unless the slot or the digest takes more than `iterations` (0: any number)."""
    data = pieces["header"].data
    if not data.startswith(layout.MAGIC):
        return Verdict(False)
    header = pieces["header"].padded(layout.HEADER_SIZE)
    fields = dict(zip(NAMES, FIELDS.unpack_from(header), strict=True))
    failures = {}
    if fields["version"] != SUPPORTED:
        failures["version"] = f"LUKS version {fields['version']} is not supported"
    found = Verdict(True, failures=failures, facts=fields)
    if not options.get("inner") or len(data) < layout.HEADER_SIZE or failures:
        return found
    return found._replace(**_inner(header, fields, pieces, options["iterations"]))


def _inner(header: bytes, fields: Mapping[str, Any], pieces: Mapping[str, Piece], most: int) -> dict[str, Any]:
    """What is wanted next, or why it is not."""
    for index in range(layout.NUMKEYS):
        active, iterations, _, offset, stripes = layout.KEY_SLOT.unpack_from(
            header, layout.PHDR.size + index * layout.KEY_SLOT.size
        )
        if active == layout.KEY_ENABLED:
            break
    else:
        return {}
    if most and max(iterations, fields["mk_digest_iter"]) > most:
        return {"error": f"Key slot {index} takes more than {most} iterations"}
    length = fields["key_bytes"] * stripes
    if not 0 < length <= limits.KEPT // 2:
        return {"error": f"Key slot {index} has {length} bytes of key material"}
    material = pieces.get("key_material")
    if material is None:
        return {"wanted": (Wanted("key_material", offset * layout.SECTOR_SIZE, length),)}
    if material.done and "encrypted_block" not in pieces:
        start = fields["payload_offset"] * layout.SECTOR_SIZE
        return {"wanted": (Wanted("encrypted_block", start, layout.SECTOR_SIZE),)}
    return {}
