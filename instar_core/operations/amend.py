"""amend: options of an image that is there already, changed in place."""

from __future__ import annotations

import os
import time

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, options, registry, unlocking
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.operations.repair import same_file
from instar_core.settings import DEFAULTS
from instar_core.types import Amend, Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings

NEW, OLD = "new-secret", "old-secret"


def amend(
    path: str,
    given: Mapping[str, str],
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    force: bool = False,
    settings: Settings = DEFAULTS,
) -> None:
    """The image at `path` has these options, texts as a user types them, from now on.

    With `force` also what cannot be undone is done. Secrets are named by their ids in settings.keyring. A stop at any
    point leaves the old or the new state. Raises InstarError, of kind UNSUPPORTED where the format cannot be amended.
    """
    from instar_core.dataplane.apply import apply

    opened = settings._replace(force_share=True)  # the one lock is that of the descriptor that is written to
    writable = devices.open_named(chains.plain(path), write=True)
    try:
        locks.take(writable, locks.CHANGE)
        with chains.open_member(path, opened, "write", format=format, options=open_options) as member:
            header = 1 if (open_options or {}).get(chains.HEADER) else 0
            if header:
                writable.close()
                writable = devices.open_named(chains.plain(str((open_options or {})[chains.HEADER])), write=True)
                locks.take(writable, locks.CHANGE)
            same_file(member.devices[header], writable)
            request = _request(member, given, force, settings)
            targets = [writable.descriptor] * (header + 1)
            apply(member.session.edits(member.format, request), targets)
    finally:
        writable.close()


def _request(member: Member, given: Mapping[str, str], force: bool, settings: Settings) -> Amend:
    """The request, its key slots made. Raises InstarError."""
    spec = registry.spec(member.format)
    if Capability.AMEND not in spec.capabilities:
        raise InstarError(
            f"Format driver '{member.format}' does not support option amendment", kind=ErrorKind.UNSUPPORTED
        )
    if member.info.encrypted and unlocking.key(member.info) is None:
        raise InstarError(member.info.blocked, path=member.path)
    for name in given:
        if not any(option.name == name for option in spec.amend_options):
            raise UsageError(f"Invalid parameter '{name}'")
    values = {o.name: options.parse_value(o, given[o.name]) for o in spec.amend_options if o.name in given}
    new, old = (_taken(values, suffix) for suffix in (NEW, OLD))
    request = Amend(values, None, None, force, time.time_ns(), os.urandom(64))
    if old is not None:
        from instar_core import keys

        passphrase = _passphrase(settings, old)
        request = request._replace(opened=keys.opened(member.session.unlock(member.format), passphrase, settings))
    if new is not None:
        from instar_core import keys

        order = member.session.seal(member.format, request)
        key = unlocking.key(member.info)
        if key is None:
            raise UsageError(f"Invalid parameter '{NEW}': the image is not encrypted", path=member.path)
        request = request._replace(keys=keys.seal(order, _passphrase(settings, new), key, settings))
    return request


def _taken(values: dict[str, Any], suffix: str) -> str | None:
    """The id of the secret that an option with this name or suffix gives; it is not among the values any more."""
    for name in list(values):
        if name == suffix or name.endswith("." + suffix):
            return str(values.pop(name))
    return None


def _passphrase(settings: Settings, id: str) -> bytes:
    if settings.keyring is None:
        raise InstarError(f"No secret with id '{id}'")
    return settings.keyring.passphrase(id)
