"""The program of a key session: passphrase and key slots in, volume key out; or new key slots for a volume key.

It sees one passphrase, the key slots and their material, for new slots the volume key, and nothing else of any image.
All of it arrives after the walls are up; before, only the names of the ciphers and key derivations that are needed.
"""

from __future__ import annotations

from instar_core import limits, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError
from instar_core.types import KeyPlan, KeySlot
from instar_core.worker import kdf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Channel(Protocol):
        """The worker's end of a session."""

        def send(self, frame: bytes) -> None: ...  # noqa: D102
        def receive(self) -> bytes: ...  # noqa: D102


SECTOR_SIZE = 512
"""Key material is encrypted in sectors of this size, whatever the payload's are."""
DIGEST_SHARE = 8
"""A key is recognised by PBKDF2 with this part of the iterations that its time allows, as QEMU and cryptsetup do."""


class State:
    """What a session knows once its walls are up: why it cannot work, if so."""

    __slots__ = ("failure",)

    def __init__(self, failure: InstarError | None) -> None:
        self.failure = failure


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> State:
    """Hashes and ciphers imported and used once, so that nothing is imported behind the walls.

    `argument` is nothing, or on the wire the names of ciphers and of key derivations that the plan will have.
    """
    del descriptors
    from instar_core.codecs import cipher
    from instar_core.worker import antiforensic, kdfcost  # noqa: F401

    ciphers, kdfs = wire.decode(argument) if argument else ((), ())
    failure = None
    antiforensic.merge(bytes(64), 32, 2, "sha256")
    for ready, names in ((cipher.prepare, ()), (kdf.prepare, ()), (cipher.prepare, ciphers), (kdf.prepare, kdfs)):
        try:
            ready(names)
        except InstarError as error:
            failure = failure or error
    return State(failure)


def serve(state: State, channel: Channel) -> None:
    """One request answered: (its name, key plan, passphrase, what it needs more)."""
    try:
        frame = channel.receive()
    except EOFError:
        return
    try:
        if state.failure:
            raise state.failure
        answer = wire.VALUE + wire.encode(_answer(frame))
    except InstarError as error:
        text = "".join(c if c.isprintable() else "?" for c in error.message[: limits.MESSAGE])
        answer = wire.ERROR + wire.encode([type(error).__name__, error.kind, error.offset, text])
    channel.send(answer)


def _answer(frame: bytes) -> Any:
    if frame[:1] != wire.REQUEST:
        raise ContractViolation("a key worker was asked something else")
    name, fields, passphrase, *more = wire.decode(frame[1:])
    plan = KeyPlan._make(fields)
    plan = plan._replace(slots=tuple([KeySlot._make(slot) for slot in plan.slots]))
    return REQUESTS[name](plan, passphrase, *more)


def derive(plan: KeyPlan, passphrase: bytes) -> tuple[bytes, int] | None:
    """The volume key and the number of the first slot that takes the passphrase; None where none does.

    Raises FormatError (UNSUPPORTED) for algorithms that are not known, (CORRUPT) for a plan that makes no sense.
    """
    for slot, material in zip(plan.slots, plan.material, strict=True):
        key = _open(plan, slot, material, passphrase)
        if _fits(plan.check, key):
            return key, slot.index
    return None


def opened(plan: KeyPlan, passphrase: bytes) -> tuple[int, ...]:
    """The numbers of all slots that take the passphrase. Raises as derive does."""
    pairs = zip(plan.slots, plan.material, strict=True)
    return tuple([slot.index for slot, stored in pairs if _fits(plan.check, _open(plan, slot, stored, passphrase))])


def seal(plan: KeyPlan, passphrase: bytes, key: bytes, random: bytes) -> KeyPlan:
    """The plan filled: its slots, opened by the passphrase, hold the key, and its check recognises it.

    A check without `time` is one that a volume has already: it stays, and the key must fit. Raises FormatError.
    """
    from instar_core.worker import kdfcost

    if len(key) != plan.key_size or len(random) < randomness(plan):
        raise ContractViolation("a key worker was given a key or random bytes of the wrong size")
    taken, at = [], 0
    check = dict(plan.check)
    for size in _random_sizes(plan):
        taken.append(random[at : at + size])
        at += size
    pieces = iter(taken)
    if "time" in check:
        count = kdfcost.iterations(check["hash"], len(check["digest"]), check.pop("time"))
        check["iterations"] = max(kdfcost.LEAST_ITERATIONS, count // DIGEST_SHARE)
        check["salt"] = next(pieces)
        check["digest"] = kdf.pbkdf2(check["hash"], key, check["salt"], check["iterations"], len(check["digest"]))
    elif not _fits(check, key):
        raise FormatError("the volume key is not the one of this volume", kind=ErrorKind.CORRUPT)
    slots, material = list(plan.slots), [b""] * len(plan.slots)
    for at, slot in enumerate(slots):
        if slot.kdf != kdf.PLAIN:
            slots[at] = slot._replace(salt=next(pieces), params=_chosen(plan, slot))
            material[at] = _sealed(plan, slots[at], passphrase, key, next(pieces))
    return plan._replace(slots=tuple(slots), material=tuple(material), check=check)


def randomness(plan: KeyPlan) -> int:
    """Bytes of randomness that sealing the plan takes: salts, and all stripes but the last."""
    return sum(_random_sizes(plan))


def _random_sizes(plan: KeyPlan) -> list[int]:
    sizes = [len(plan.check["salt"])] if "time" in plan.check else []
    for slot in plan.slots:
        if slot.kdf != kdf.PLAIN:
            sizes += [len(slot.salt), plan.key_size * (slot.stripes - 1)]
    return sizes


def _chosen(plan: KeyPlan, slot: KeySlot) -> dict[str, Any]:
    """The slot's params with the work that its time allows; what is given explicitly stays."""
    from instar_core.worker import kdfcost

    params = dict(slot.params)
    time = params.pop("time", None)
    if "iterations" in params:
        return params
    length = _slot_key_size(plan, slot)
    if slot.kdf == kdf.PBKDF2:
        params["iterations"] = kdfcost.iterations(_hash(slot), length, time)
    elif slot.kdf in kdf.ARGON2:
        params.update(kdfcost.argon2(slot.kdf, params, length, time))
    return params


def _sealed(plan: KeyPlan, slot: KeySlot, passphrase: bytes, key: bytes, random: bytes) -> bytes:
    """The key split, up to the slot's length, and encrypted with what the passphrase gives."""
    from instar_core.codecs import cipher
    from instar_core.worker import antiforensic

    split = antiforensic.split(key, slot.stripes, slot.hash, random)
    plain = bytearray(split.ljust(slot.length, b"\0"))
    made = bytearray(len(plain))
    encrypt = cipher.sectors(slot.cipher, _slot_key(plan, slot, passphrase), SECTOR_SIZE, decrypt=False, fast=False)
    encrypt(memoryview(plain), memoryview(made), 0)
    plain[:] = bytes(len(plain))
    return bytes(made)


def _open(plan: KeyPlan, slot: KeySlot, material: bytes, passphrase: bytes) -> bytes:
    """What the slot's material decrypts to with the passphrase, whether right or not."""
    from instar_core.codecs import cipher
    from instar_core.worker import antiforensic

    if slot.kdf == kdf.PLAIN:
        return _slot_key(plan, slot, passphrase)
    if slot.stripes < 1 or plan.key_size < 1 or len(material) < plan.key_size * slot.stripes:
        raise FormatError(f"Keyslot {slot.index} has too little key material", kind=ErrorKind.CORRUPT)
    slot_key = _slot_key(plan, slot, passphrase)
    split = bytearray(len(material))
    decrypt = cipher.sectors(slot.cipher, slot_key, SECTOR_SIZE, decrypt=True, fast=False)
    decrypt(memoryview(material), memoryview(split), 0)
    try:
        return antiforensic.merge(bytes(split), plan.key_size, slot.stripes, slot.hash)
    except ValueError as error:
        raise FormatError(f"Hash algorithm '{slot.hash}' not supported", kind=ErrorKind.UNSUPPORTED) from error
    finally:
        split[:] = bytes(len(split))


def _slot_key(plan: KeyPlan, slot: KeySlot, passphrase: bytes) -> bytes:
    params = {**slot.params, "hash": _hash(slot)}
    return kdf.derive(slot.kdf, passphrase, slot.salt, params, _slot_key_size(plan, slot))


def _slot_key_size(plan: KeyPlan, slot: KeySlot) -> int:
    """Bytes of the key with which the material is encrypted: the volume key's unless the slot says otherwise."""
    size: int = slot.params.get("key_size", plan.key_size)
    return size


def _hash(slot: KeySlot) -> str:
    """The hash of the key derivation: that of the stripes unless the slot says otherwise."""
    name: str = slot.params.get("hash", slot.hash)
    return name


def _fits(check: Mapping[str, Any], key: bytes) -> bool:
    """Whether it is the key that the check stands for; where there is nothing to check it by, it is."""
    if not check:
        return True
    digest: bytes = check["digest"]
    return kdf.pbkdf2(check["hash"], key, check["salt"], check["iterations"], len(digest)) == digest


REQUESTS: dict[str, Callable[..., Any]] = {"derive": derive, "opened": opened, "seal": seal}
"""What a key worker does, by the name of the request."""
