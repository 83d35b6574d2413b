"""amend: options of an image that is there already, changed in place."""

from __future__ import annotations

import os
import time

from instar_core import options, registry, unlocking
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.operations.resize import consistent, prepared
from instar_core.results import Progress
from instar_core.settings import DEFAULTS
from instar_core.types import Amend, Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings
    from instar_core.types import FormatSpec, Option

NEW, OLD = "new-secret", "old-secret"
BACKING = ("backing_file", "backing_fmt")
"""Options that a new image takes, and that rebase changes."""


def amend(
    path: str,
    given: Mapping[str, str],
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    force: bool = False,
    cache: str = "writeback",
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The image at `path` has these options, texts as a user types them, from now on.

    With `force` also what cannot be undone is done. Secrets are named by their ids in settings.keyring. A stop at any
    point leaves the old state or the new one, or that between two of several options, with at most leaked clusters.
    Raises InstarError, of kind UNSUPPORTED where the format cannot be amended.
    """
    with Changing(path, settings, format=format, options=open_options, cache=cache, foreseen="amend") as image:
        image.require_chain()
        values = _values(image.member, given)
        secrets = {suffix: _taken(values, suffix) for suffix in (NEW, OLD)}
        size = values.get("size")
        below = None
        if isinstance(size, int) and size:
            consistent(image.member)
            before = image.member.info.virtual_size
            below = prepared(image, before, cancelled) if size > before else None
        request = Amend(values, None, None, force, time.time_ns(), os.urandom(64), below)
        image.apply(_keyed(image.member, request, secrets, settings), cancelled=cancelled)
        if progress is not None:
            progress(Progress("amend", 1, 1))


def amendable(format: str) -> FormatSpec:
    """The specification of a format whose images can be amended. Raises InstarError."""
    spec = registry.spec(format)
    if Capability.AMEND not in spec.capabilities:
        raise InstarError(f"Format driver '{format}' does not support option amendment", kind=ErrorKind.UNSUPPORTED)
    return spec


def amendable_at(
    path: str, format: str | None, open_options: Mapping[str, Any] | None, settings: Settings
) -> FormatSpec:
    """The specification of the format of an image that could be amended now. Raises InstarError."""
    with Changing(path, settings, format=format, options=open_options, foreseen="amend") as image:
        image.require_chain()
        return amendable(image.member.format)


def checked(given: Mapping[str, str], spec: FormatSpec) -> dict[str, Any]:
    """The options by their types. Raises UsageError for one that only a new image takes, and for one that does not
    exist."""
    known = {option.name: option for option in spec.amend_options}
    making = {option.name: option for option in options.table(spec)}
    values = {}
    for name, text in given.items():
        if name in BACKING and name in making:
            continue
        if name not in known:
            new = all(other in making and _is_value(making[other], given[other]) for other in given)
            hint = "This option is only supported for image creation" if new else ""
            raise UsageError(f"Invalid parameter '{name}'", hint=hint)
        values[name] = options.parse_value(known[name], text)
    if any(name in BACKING for name in given):
        raise UsageError("Cannot amend the backing file", hint="You can use 'qemu-img rebase' instead.")
    return values


def _is_value(option: Option, text: str) -> bool:
    try:
        options.parse_value(option, text)
    except UsageError:
        return False
    return True


def _values(member: Member, given: Mapping[str, str]) -> dict[str, Any]:
    """The options by their types. Raises InstarError."""
    spec = amendable(member.format)
    if member.info.encrypted and unlocking.key(member.info) is None:
        raise InstarError(member.info.blocked, path=member.path)
    values = checked(given, spec)
    return {option.name: values[option.name] for option in spec.amend_options if option.name in values}


def _keyed(member: Member, request: Amend, secrets: Mapping[str, str | None], settings: Settings) -> Amend:
    """The request with the key slots that it needs made. Raises InstarError."""
    new, old = secrets[NEW], secrets[OLD]
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
