"""From a passphrase to an image whose content can be read.

The host holds the key only after the worker that parses the image was closed behind its walls; that worker never sees
it. The key worker that derives it sees no image, and codec workers get it in the params of their coding.
"""

from __future__ import annotations

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


def unlock(plan: KeyPlan, passphrase: bytes, settings: Settings) -> bytes | None:
    """The volume key, derived in a sandbox of its own, or None where no key slot takes the passphrase.

    Raises FormatError where the plan asks for something unknown, NotInstalled where the cipher library is missing,
    SandboxError where the work passes limits.KEY_CPU or settings.timeout.
    """
    bounds = instar_sandbox.Limits(limits.KEY_CPU, limits.WORKER_MEMORY, settings.timeout)
    try:
        with instar_sandbox.start(
            settings.sandbox,
            instar_sandbox.Program(PROGRAM),
            (),
            bounds,
            server=True,  # a worker forked from here would begin with a copy of the passphrase
            snapshot=guests.snapshot(guests.BULK, settings.sandbox),
        ) as session:
            session.send(wire.REQUEST + wire.encode([plan, passphrase]))
            frame = session.receive()
    except instar_sandbox.JailError as error:
        raise SandboxError(str(error)) from error
    tag, value = frame[:1], wire.decode(frame[1:])
    if tag == wire.ERROR:
        raise _error(value)
    if tag == wire.VALUE and (value is None or (type(value) is bytes and len(value) == plan.key_size)):
        return value
    raise ContractViolation("a key worker answered with something that is no key")


def unlocked(info: ImageInfo, plan: KeyPlan, passphrase: bytes, settings: Settings) -> ImageInfo:
    """The image with its key. Raises ImageError (REFUSED) in qemu-img's words where the passphrase opens no slot."""
    key = unlock(plan, passphrase, settings)
    if key is None:
        raise ImageError("Invalid password, cannot unlock any keyslot", kind=ErrorKind.REFUSED)
    return with_key(info, key)


def with_key(info: ImageInfo, key: bytes) -> ImageInfo:
    """The same image, its content no longer blocked and its cipher codings with the key in their params."""
    return info._replace(codings=tuple([_keyed(coding, key) for coding in info.codings]), blocked="")


def _keyed(coding: Coding, key: bytes) -> Coding:
    if coding.name != CIPHER:
        return coding
    return coding._replace(params={**coding.params, "key": key})


def _error(value: Any) -> FormatError | NotInstalled | ContractViolation:
    if type(value) is not tuple or len(value) != 4 or type(value[3]) is not str:
        return ContractViolation("a key worker's error cannot be read")
    name, kind, _, text = value
    if name == "NotInstalled":
        return NotInstalled(text[: limits.MESSAGE], hint="install the extra instar[crypto]")
    known = (ErrorKind.UNSUPPORTED, ErrorKind.CORRUPT, ErrorKind.LIMIT)
    return FormatError(text[: limits.MESSAGE], kind=kind if kind in known else None)
