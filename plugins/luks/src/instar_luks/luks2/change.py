"""Changes of a LUKS2 header: key slots added and erased, a damaged copy made anew.

One copy of the header is whole at any time: the one that was not in use is written first.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import amend as luks1
from instar_core.luks1.options import TIME
from instar_core.types import Barrier, KeyPlan, Put
from instar_luks import limits
from instar_luks.luks2 import make, unlock
from instar_luks.luks2.check import metadata_findings
from instar_luks.luks2.choices import KDF, LANES, MEMORY
from instar_luks.luks2.copies import build
from instar_luks.luks2.metadata import PBKDF2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.types import Amend, Edit
    from instar_luks.luks2.copies import Copy, Pair
    from instar_luks.luks2.metadata import Metadata


def check_places(copy: Copy, found: Metadata, payload: int | None) -> None:
    """Nothing happens if all areas lie in their places, so that they may be written; `payload` is where the payload
    begins in the same file. Raises FormatError."""
    for finding in metadata_findings(copy, found, payload):
        raise FormatError(f"the volume must be sound to be changed: {finding.text}", kind=ErrorKind.CORRUPT)


def order(copy: Copy, found: Metadata, values: Mapping[str, Any], *, force: bool) -> KeyPlan:
    """The key plan for the slot that a new secret is to have. Raises FormatError where it cannot have one."""
    if luks1.state(values) != luks1.ADD:
        raise FormatError("'new-secret' must not be given when erasing keyslots", kind=ErrorKind.REFUSED)
    index = luks1.free(tuple(found.slots), limits.OBJECTS, values.get("keyslot"), force=force)
    if not found.key_size:
        raise FormatError("no keyslot is active: nothing can open the volume", kind=ErrorKind.REFUSED)
    time = values.get("iter-time")
    like = found.slots[found.bound[0]]
    params: dict[str, Any] = {"time": TIME if time is None else time, "key_size": like.cipher_key_size}
    if like.kdf == PBKDF2:
        params["hash"] = like.params["hash"]
    else:
        params.update({"memory": max(MEMORY, like.params["memory"]), "lanes": like.params["lanes"] or LANES})
    offset = _room(copy, found, found.key_size)
    made = make.slot(index, offset, found.key_size, like.kdf or KDF, params, like.cipher, like.af_hash)
    return KeyPlan(found.segment.cipher, found.key_size, (made,), (), unlock.check(found.digest))


def _room(copy: Copy, found: Metadata, key_size: int) -> int:
    """The first place in the keyslots area that no key slot takes; one that is overwritten keeps its own till then."""
    at, end = 2 * copy.size, 2 * copy.size + found.keyslots_size
    need = make.area_size(key_size)
    for offset, length in sorted([(slot.offset, slot.length) for slot in found.slots.values()]):
        if offset - at >= need:
            break
        at = max(at, offset + length)
    if at + need > end:
        raise FormatError("Can't add a keyslot - the keyslots area is full", kind=ErrorKind.REFUSED)
    return at


def amended(pair: Pair, found: Metadata, request: Amend, *, device: int) -> Iterator[Edit]:
    """The edits that add the key slot of request.keys, or erase those that are named. Raises FormatError."""
    values = request.options
    if luks1.state(values) == luks1.ADD:
        if request.keys is None:
            raise FormatError("'new-secret' is required to activate a keyslot", kind=ErrorKind.REFUSED)
        if request.opened is not None:
            raise FormatError("'old-secret' must not be given when activating keyslots", kind=ErrorKind.REFUSED)
        return _added(pair, found, request.keys, request.entropy, device)
    if values.get("iter-time") is not None:
        raise FormatError("'iter-time' must not be given when erasing keyslots", kind=ErrorKind.REFUSED)
    chosen = luks1.chosen_to_erase(tuple(sorted(found.bound)), limits.OBJECTS, values.get("keyslot"), request)
    return _erased(pair, found, chosen, request.entropy, device)


def _added(pair: Pair, found: Metadata, keys: KeyPlan, entropy: bytes, device: int) -> Iterator[Edit]:
    used = pair.used
    keyslots, digests = dict(used.json["keyslots"]), dict(used.json["digests"])
    old = [slot for slot in keys.slots if str(slot.index) in keyslots]
    for filled, material in zip(keys.slots, keys.material, strict=True):
        yield Put(filled.offset, material, device)
        keyslots[str(filled.index)] = make.keyslot(filled, keys.key_size)
    yield Barrier()
    new = {str(slot.index) for slot in keys.slots}
    for name, digest in digests.items():
        mine = int(name) == found.number
        kept = [item for item in digest["keyslots"] if item not in new]
        digests[name] = {**digest, "keyslots": kept + (sorted(new) if mine else [])}
    yield from _committed(pair, {**used.json, "keyslots": keyslots, "digests": digests}, entropy, device)
    for slot in old:
        yield from _wiped(found, slot.index, device)


def _erased(pair: Pair, found: Metadata, chosen: tuple[int, ...], entropy: bytes, device: int) -> Iterator[Edit]:
    """First no copy of the header names the slots, then their material is overwritten."""
    json = pair.used.json
    names = {str(index) for index in chosen}
    made = {**json, "keyslots": {name: slot for name, slot in json["keyslots"].items() if name not in names}}
    for kind in ("digests", "tokens"):
        made[kind] = {
            name: {**item, "keyslots": [slot for slot in item.get("keyslots", []) if slot not in names]}
            for name, item in json[kind].items()
        }
    yield from _committed(pair, made, entropy, device)
    for index in chosen:
        yield from _wiped(found, index, device)


def _wiped(found: Metadata, index: int, device: int) -> Iterator[Edit]:
    """The slot's area overwritten: with bytes, not by deallocating, which would leave the old ones on the disk."""
    slot = found.slots.get(index)
    if slot is None:
        return
    for at in range(slot.offset, slot.offset + slot.length, limits.WIPE):
        yield Put(at, bytes(min(limits.WIPE, slot.offset + slot.length - at)), device)
    yield Barrier()


def _committed(pair: Pair, json: dict[str, Any], entropy: bytes, device: int) -> Iterator[Edit]:
    """Both copies written with these metadata, under the next sequence number."""
    used = pair.used
    new = used._replace(json=json, seqid=used.seqid + 1)
    first, second = make.salts(entropy)
    both = [(used.size, second), (0, first)]
    for offset, salt in both if used.primary else reversed(both):
        yield Put(offset, build(new, offset, salt), device)
        yield Barrier()


def repaired(pair: Pair, entropy: bytes, *, device: int) -> Iterator[Edit]:
    """The copy that is not in use is made anew from the other one, if it is not as it should be."""
    used = pair.used
    other = pair.second if used is pair.first else pair.first
    if other == used._replace(offset=used.size if used.primary else 0):
        return
    first, second = make.salts(entropy)
    offset, salt = (used.size, second) if used.primary else (0, first)
    yield Put(offset, build(used, offset, salt), device)
    yield Barrier()
