"""Images that are to be encrypted: their key, and the key slots in which it is kept."""

from __future__ import annotations

import os

from instar_core import keys
from instar_core.errors import ContractViolation, InstarError
from instar_core.unlocking import SECRET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.session import FormatSession
    from instar_core.settings import Settings
    from instar_core.types import Create, Geometry, KeyPlan

PLAIN = "plain"
"""The key derivation of formats without key slots: the passphrase is the key."""


def secret(values: Mapping[str, Any]) -> str | None:
    """The id of the secret that the options of a new image name."""
    for name, value in values.items():
        if value is not None and (name == SECRET or name.endswith("." + SECRET)):
            return str(value)
    return None


def sealed(
    session: FormatSession, format: str, request: Create, secret: str, settings: Settings, measuring: bool
) -> tuple[KeyPlan, bytes]:
    """The key slots of a new image, and its key. With `measuring` they are only good for their size.

    Raises InstarError where there is no such secret.
    """
    order = session.seal(format, request)
    if settings.keyring is None:
        raise InstarError(f"No secret with id '{secret}'")
    passphrase = settings.keyring.passphrase(secret)
    if measuring:
        order = hurried(order)
    key = os.urandom(order.key_size)
    plan = keys.seal(order, passphrase, key, settings)
    if any(slot.kdf == PLAIN for slot in plan.slots):
        found = keys.unlock(plan, passphrase, settings)
        if found is None:
            raise ContractViolation("a passphrase does not open the image that it was to seal")
        key, _ = found
    return plan, key


def hurried(order: KeyPlan) -> KeyPlan:
    """The same key slots, made in as little time as possible."""
    slots = [slot._replace(params=_quick(slot.params)) for slot in order.slots]
    return order._replace(slots=tuple(slots), check=_quick(order.check))


def _quick(params: Mapping[str, Any]) -> dict[str, Any]:
    return {**params, "time": 1} if "time" in params else dict(params)


def keyed(geometry: Geometry, key: bytes) -> Geometry:
    """The geometry with the key in its cipher's params. Raises ContractViolation where it has no cipher."""
    if geometry.cipher is None:
        raise ContractViolation("a writer that had key slots made wants its content not encrypted")
    return geometry._replace(cipher=geometry.cipher._replace(params={**geometry.cipher.params, "key": key}))
