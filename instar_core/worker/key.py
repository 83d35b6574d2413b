"""The program of a key session: it turns one passphrase into the volume key of an image.

It sees the passphrase, the key slots and their material, and nothing else. Both arrive after the walls are up.
"""

from __future__ import annotations

from instar_core import limits, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError
from instar_core.types import KeyPlan, KeySlot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Channel(Protocol):
        """The worker's end of a session."""

        def send(self, frame: bytes) -> None: ...  # noqa: D102
        def receive(self) -> bytes: ...  # noqa: D102


SECTOR_SIZE = 512
"""Key material is encrypted in sectors of this size, whatever the payload's are."""


class State:
    """What a session knows once its walls are up: why it cannot work, if so."""

    __slots__ = ("failure",)

    def __init__(self, failure: InstarError | None) -> None:
        self.failure = failure


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> State:
    """Hashes and ciphers imported and used once, so that nothing is imported behind the walls."""
    del argument, descriptors
    from hashlib import pbkdf2_hmac

    from instar_core.codecs import cipher
    from instar_core.worker import antiforensic

    pbkdf2_hmac("sha256", b"", b"", 1)
    antiforensic.merge(bytes(64), 32, 2, "sha256")
    try:
        cipher.prepare()
    except InstarError as error:
        return State(error)
    return State(None)


def serve(state: State, channel: Channel) -> None:
    """One request answered: (key plan, passphrase) → the volume key, or None where no slot takes the passphrase."""
    try:
        frame = channel.receive()
    except EOFError:
        return
    try:
        if state.failure:
            raise state.failure
        plan, passphrase = _request(frame)
        answer = wire.VALUE + wire.encode(derive(plan, passphrase))
    except InstarError as error:
        text = "".join(c if c.isprintable() else "?" for c in error.message[: limits.MESSAGE])
        answer = wire.ERROR + wire.encode([type(error).__name__, error.kind, error.offset, text])
    channel.send(answer)


def _request(frame: bytes) -> tuple[KeyPlan, bytes]:
    if frame[:1] != wire.REQUEST:
        raise ContractViolation("a key worker was asked something else")
    fields, passphrase = wire.decode(frame[1:])
    plan = KeyPlan._make(fields)
    return plan._replace(slots=tuple([KeySlot._make(slot) for slot in plan.slots])), passphrase


def derive(plan: KeyPlan, passphrase: bytes) -> bytes | None:
    """The volume key from the first slot that takes the passphrase; None where none does.

    Raises FormatError (UNSUPPORTED) for algorithms that are not known, (CORRUPT) for a plan that makes no sense.
    """
    for slot, material in zip(plan.slots, plan.material, strict=True):
        key = _open(plan, slot, material, passphrase)
        if _fits(plan, key):
            return key
    return None


def _open(plan: KeyPlan, slot: KeySlot, material: bytes, passphrase: bytes) -> bytes:
    """What the slot's material decrypts to with the passphrase, whether right or not."""
    from instar_core.codecs import cipher
    from instar_core.worker import antiforensic

    if slot.kdf != "pbkdf2":
        raise FormatError(f"Key derivation function '{slot.kdf}' not supported", kind=ErrorKind.UNSUPPORTED)
    if slot.stripes < 1 or plan.key_size < 1 or len(material) < plan.key_size * slot.stripes:
        raise FormatError(f"Keyslot {slot.index} has too little key material", kind=ErrorKind.CORRUPT)
    slot_key = _pbkdf2(slot.hash, passphrase, slot.salt, slot.params["iterations"], plan.key_size)
    split = bytearray(len(material))
    decrypt = cipher.sectors(slot.cipher, slot_key, SECTOR_SIZE, decrypt=True, fast=False)
    decrypt(memoryview(material), memoryview(split), 0)
    return antiforensic.merge(bytes(split), plan.key_size, slot.stripes, slot.hash)


def _fits(plan: KeyPlan, key: bytes) -> bool:
    check: Any = plan.check
    digest: bytes = check["digest"]
    return _pbkdf2(check["hash"], key, check["salt"], check["iterations"], len(digest)) == digest


def _pbkdf2(hash_name: str, secret: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    from hashlib import pbkdf2_hmac

    try:
        return pbkdf2_hmac(hash_name, secret, salt, iterations, length)
    except (ValueError, OverflowError) as error:
        message = f"Hash algorithm '{hash_name}' with {iterations} iterations not supported"
        raise FormatError(message, kind=ErrorKind.UNSUPPORTED) from error
