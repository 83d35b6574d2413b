"""From a passphrase to an image whose content can be read, and to the key slots of one that is to be written.

The host holds the key only after the worker that parses the image was closed behind its walls; that worker never sees
it. The key worker that derives it sees no image, and codec workers get it in the params of their coding.
"""

from __future__ import annotations

import os

import instar_sandbox

from instar_core import guests, limits, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError, ImageError, NotInstalled, SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.settings import Settings
    from instar_core.types import Coding, ImageInfo, KeyPlan

PROGRAM = "instar_core.worker.key"
CIPHER = "cipher"
"""Name of the coding that takes a key."""
WANTED = "key-secret"
"""What an image says that is blocked only because it is locked: the name of the option that is missing."""
PLAIN = "plain"
"""The key derivation that has no key slot: the passphrase is the key."""
ARGON2 = "argon2"


def unlock(plan: KeyPlan, passphrase: bytes, settings: Settings) -> tuple[bytes, int] | None:
    """The volume key, derived in a sandbox of its own, and the number of the key slot that gave it; None where none
    takes the passphrase.

    Raises FormatError where the plan asks for something unknown or too large, NotInstalled where a library is missing,
    SandboxError where the work passes limits.KEY_CPU or settings.timeout.
    """
    value = _ask(plan, settings, settings.sandbox, "derive", passphrase)
    if value is None:
        return None
    if type(value) is tuple and len(value) == 2:
        key, index = value
        known = [slot.index for slot in plan.slots]
        if type(key) is bytes and len(key) == plan.key_size and type(index) is int and index in known:
            return key, index
    raise ContractViolation("a key worker answered with something that is no key")


def opened(plan: KeyPlan, passphrase: bytes, settings: Settings) -> tuple[int, ...]:
    """The numbers of all key slots that take the passphrase. Raises as unlock does."""
    value = _ask(plan, settings, settings.sandbox, "opened", passphrase)
    known = [slot.index for slot in plan.slots]
    if type(value) is tuple and all(type(index) is int and index in known for index in value):
        return value
    raise ContractViolation("a key worker answered with something that is no list of key slots")


def seal(plan: KeyPlan, passphrase: bytes, key: bytes, settings: Settings) -> KeyPlan:
    """The plan that instar_seal asked for, filled: its key slots hold the key and are opened by the passphrase.

    No image is near: like a session that writes one, its worker is a jailed process and no guest, which has no clock by
    which to choose how much work a key slot is to cost. Raises as unlock does.
    """
    from instar_core import validate
    from instar_core.worker import key as worker

    place = "inline" if settings.sandbox == "inline" else "process"
    order = _within_memory(plan)
    value = _ask(order, settings, place, "seal", passphrase, key, os.urandom(worker.randomness(order)))
    made = validate.key_plan(value)
    same = made._replace(slots=(), material=(), check={}) == plan._replace(slots=(), material=(), check={})
    if not same or [slot.index for slot in made.slots] != [slot.index for slot in plan.slots]:
        raise ContractViolation("a key worker answered with other key slots than were wanted")
    for slot, material in zip(made.slots, made.material, strict=True):
        if len(material) != (0 if slot.kdf == PLAIN else slot.length):
            raise ContractViolation("a key worker answered with key material of the wrong size")
    return made


def _within_memory(plan: KeyPlan) -> KeyPlan:
    """The order, its Argon2 slots with no more memory than half of the machine's and limits.ARGON2_MEMORY allow, where
    it is the key worker that chooses."""
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    most = min(half, limits.ARGON2_MEMORY) // limits.KIB
    slots = list(plan.slots)
    for at, slot in enumerate(slots):
        if slot.kdf.startswith(ARGON2) and "iterations" not in slot.params:
            memory = min(most, slot.params.get("memory", most))
            slots[at] = slot._replace(params={**slot.params, "memory": memory})
    return plan._replace(slots=tuple(slots))


def _ask(plan: KeyPlan, settings: Settings, place: str, name: str, *secrets: bytes) -> Any:
    """A key worker's answer to one request, not yet believed."""
    ciphers = {slot.cipher.partition("-")[0] for slot in plan.slots}
    kdfs = {slot.kdf for slot in plan.slots}
    program = instar_sandbox.Program(PROGRAM, wire.encode([sorted(ciphers), sorted(kdfs)]))
    bounds = instar_sandbox.Limits(limits.KEY_CPU, limits.WORKER_MEMORY + _argon2_memory(plan), settings.timeout)
    try:
        with instar_sandbox.start(
            place,
            program,
            (),
            bounds,
            server=True,  # a worker forked from here would begin with a copy of the passphrase
            snapshot=guests.snapshot(guests.BULK, place),
        ) as session:
            session.send(wire.REQUEST + wire.encode([name, plan, *secrets]))
            frame = session.receive()
    except instar_sandbox.JailError as error:
        raise SandboxError(str(error)) from error
    tag, value = frame[:1], wire.decode(frame[1:])
    if tag == wire.ERROR:
        raise _error(value)
    if tag != wire.VALUE:
        raise ContractViolation("a key worker answered with something that is no answer")
    return value


def _argon2_memory(plan: KeyPlan) -> int:
    """Bytes that the plan's hungriest Argon2 slot takes. Raises FormatError (LIMIT) where that is too much."""
    most = 0
    for slot in plan.slots:
        if slot.kdf.startswith(ARGON2):
            need = slot.params.get("memory", 0)
            if type(need) is not int or not 0 <= need <= limits.ARGON2_MEMORY // limits.KIB:
                text = f"Keyslot {slot.index} needs {need!r:.40} KiB of memory"
                text += f", more than {limits.ARGON2_MEMORY // limits.KIB}"
                raise FormatError(text, kind=ErrorKind.LIMIT)
            most = max(most, need)
    return most * limits.KIB


def unlocked(info: ImageInfo, plan: KeyPlan, passphrase: bytes, settings: Settings) -> ImageInfo:
    """The image with its key. Raises ImageError (REFUSED) in qemu-img's words where the passphrase opens no slot."""
    found = unlock(plan, passphrase, settings)
    if found is None:
        raise ImageError("Invalid password, cannot unlock any keyslot", kind=ErrorKind.REFUSED)
    return with_key(info, found[0])


def with_key(info: ImageInfo, key: bytes) -> ImageInfo:
    """The same image with the key in the params of its cipher codings, and no longer blocked for want of one."""
    blocked = "" if WANTED in info.blocked else info.blocked
    return info._replace(codings=tuple([_keyed(coding, key) for coding in info.codings]), blocked=blocked)


def _keyed(coding: Coding, key: bytes) -> Coding:
    if coding.name != CIPHER:
        return coding
    return coding._replace(params={**coding.params, "key": key})


def _error(value: Any) -> FormatError | NotInstalled | ContractViolation:
    if type(value) is not tuple or len(value) != 4 or type(value[3]) is not str:
        return ContractViolation("a key worker's error cannot be read")
    name, kind, _, text = value
    if name == "NotInstalled":
        return NotInstalled(text[: limits.MESSAGE], hint=_hint(text))
    known = (ErrorKind.UNSUPPORTED, ErrorKind.CORRUPT, ErrorKind.LIMIT)
    return FormatError(text[: limits.MESSAGE], kind=kind if kind in known else None)


def _hint(text: str) -> str:
    """What to install for what is missing; the worker says only what is missing."""
    if ARGON2 in text:
        return "install the extra instar[argon2]"
    return "install libgcrypt" if "libgcrypt" in text else "install the extra instar[crypto]"
