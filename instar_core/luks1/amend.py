"""Key slots of a LUKS1 header added and erased, in phases: a stop anywhere leaves every other slot as it was.

Messages are qemu-img's.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import make, unlock
from instar_core.luks1.layout import ACTIVE, KEY_DISABLED, KEY_ENABLED, KEY_SLOT, NUMKEYS, PHDR
from instar_core.luks1.options import TIME
from instar_core.types import Barrier, KeyPlan, Put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.luks1.header import Header
    from instar_core.types import Amend, Edit

ADD, ERASE = "active", "inactive"
UNSIGNED = 0xFFFFFFFF
"""As what qemu-img shows the number of a key slot to be added; of one to be erased it shows the sign."""


def order(header: Header, values: Mapping[str, Any], prefix: str = "", *, force: bool = False) -> KeyPlan:
    """The key plan for the slot that a new secret is to have. Raises FormatError where it cannot have one."""
    if state(values, prefix) != ADD:
        raise _refused("'new-secret' must not be given when erasing keyslots")
    index = _free(header, values.get(prefix + "keyslot"), force)
    _check_place(header, index)
    time = values.get(prefix + "iter-time")
    slot = make.slot(
        header.cipher_spec,
        header.key_bytes,
        header.algorithms.hash,
        index,
        header.slots[index].offset,
        TIME if time is None else time,
    )
    return KeyPlan(header.cipher_spec, header.key_bytes, (slot,), (), unlock.check(header))


def state(values: Mapping[str, Any], prefix: str = "") -> str:
    """What is to become of key slots: ADD or ERASE. Raises FormatError."""
    value = values.get(prefix + "state")
    if value is None:
        raise _refused("Parameter 'state' is missing")
    if value not in (ADD, ERASE):
        raise _refused(f"Parameter 'state' does not accept value '{value}'")
    return str(value)


def edits(header: Header, request: Amend, base: int = 0, *, device: int = 0, prefix: str = "") -> Iterator[Edit]:
    """The edits that add the key slot of request.keys, or erase those that are named. Raises FormatError."""
    values = request.options
    if state(values, prefix) == ADD:
        if request.keys is None:
            raise _refused("'new-secret' is required to activate a keyslot")
        if request.opened is not None:
            raise _refused("'old-secret' must not be given when activating keyslots")
        return _added(header, request.keys, base, device)
    active = tuple([index for index, slot in enumerate(header.slots) if slot.active])
    if values.get(prefix + "iter-time") is not None:
        raise _refused("'iter-time' must not be given when erasing keyslots")
    chosen = chosen_to_erase(active, NUMKEYS, values.get(prefix + "keyslot"), request)
    for index in chosen:
        _check_place(header, index)
    return _erased(header, chosen, base, device)


def chosen_to_erase(active: tuple[int, ...], count: int, keyslot: int | None, request: Amend) -> tuple[int, ...]:
    """The key slots, of `count` that there can be, that are to be erased. Raises FormatError for the last ones unless
    forced."""
    if request.keys is not None:
        raise _refused("'new-secret' must not be given when erasing keyslots")
    if keyslot is None and request.opened is None:
        text = "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be"
        raise _refused(f"{text} given")
    last = "which will erase all the data in the image irreversibly - refusing operation"
    if keyslot is not None:
        in_range(keyslot, count, keyslot - (1 << 64) if keyslot >= 1 << 63 else keyslot)
        if request.opened is not None and keyslot not in request.opened:
            raise _refused(f"Given keyslot {keyslot} doesn't contain the given old password for erase operation")
        if keyslot not in active and not request.force:
            raise _refused(f"Given keyslot {keyslot} is already erased (inactive) ")
        if active == (keyslot,) and not request.force:
            raise _refused(f"Attempt to erase the only active keyslot {keyslot} {last}")
        return (keyslot,)
    found = tuple([index for index in active if index in (request.opened or ())])
    if not found:
        raise _refused("No keyslots match given (old) password for erase operation")
    if found == active and not request.force:
        raise _refused(
            "All the active keyslots match the (old) password that was given and erasing them will erase all the data "
            "in the image irreversibly - refusing operation"
        )
    return found


def in_range(keyslot: int, count: int, shown: int) -> None:
    """Nothing happens if there can be such a key slot. Raises FormatError, which shows it as this number."""
    if not 0 <= keyslot < count:
        raise _refused(f"Invalid keyslot {shown} specified, must be between 0 and {count - 1}")


def free(active: tuple[int, ...], count: int, keyslot: int | None, *, force: bool) -> int:
    """The key slot that a new secret goes to: the one asked for, or the first that is free. Raises FormatError."""
    if keyslot is not None:
        in_range(keyslot, count, keyslot & UNSIGNED)
        if keyslot in active and not force:
            raise _refused(f"Refusing to overwrite active keyslot {keyslot} - please erase it first")
        return keyslot
    for index in range(count):
        if index not in active:
            return index
    raise _refused("Can't add a keyslot - all keyslots are in use")


def _free(header: Header, keyslot: int | None, force: bool) -> int:
    active = tuple([index for index, slot in enumerate(header.slots) if slot.active])
    return free(active, NUMKEYS, keyslot, force=force)


def _added(header: Header, keys: KeyPlan, base: int, device: int) -> Iterator[Edit]:
    """Slots that are inactive until their material and all else of them is on the disk: a key slot can lie in two
    sectors, so its state goes last."""
    for filled, material in zip(keys.slots, keys.material, strict=True):
        place = base + PHDR.size + filled.index * KEY_SLOT.size
        if header.slots[filled.index].active:
            yield Put(place, ACTIVE.pack(KEY_DISABLED), device)
            yield Barrier()
        yield Put(base + filled.offset, material, device)
        yield Put(place, make.key_slot(filled, filled.offset, KEY_DISABLED), device)
        yield Barrier()
        yield Put(place, ACTIVE.pack(KEY_ENABLED), device)
    yield Barrier()


def _erased(header: Header, chosen: tuple[int, ...], base: int, device: int) -> Iterator[Edit]:
    """First no slot says that there is a key, then its material is overwritten: with bytes, not by deallocating, which
    would leave the old ones on the disk."""
    for index in chosen:
        place = base + PHDR.size + index * KEY_SLOT.size
        yield Put(place, make.key_slot(None, header.slots[index].offset, KEY_DISABLED), device)
    yield Barrier()
    for index in chosen:
        yield Put(base + header.slots[index].offset, bytes(header.material_size), device)
    yield Barrier()


def _check_place(header: Header, index: int) -> None:
    """Nothing happens if the slot's key material may be written. Raises FormatError."""
    if not header.holds(index):
        text = f"Keyslot {index} is overlapping with the encrypted payload"
        raise FormatError(text, kind=ErrorKind.CORRUPT, offset=header.slots[index].offset)


def _refused(message: str) -> FormatError:
    return FormatError(message, kind=ErrorKind.REFUSED)
