"""Images that are encrypted: which passphrase belongs to which, and the key that it opens."""

from __future__ import annotations

from instar_core import registry
from instar_core.errors import InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.session import FormatSession
    from instar_core.settings import Settings
    from instar_core.types import ImageInfo

SECRET = "key-secret"  # noqa: S105  the name of an option
BELOW = "backing"
READ_ONLY = "read-only"
SHARED = "force-share"
BACKING = "backing."


def own(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of options that open a chain, those that the plugin of the top image gets: not the names of secrets, nor what
    lies below, nor how it is opened."""
    return {name: value for name, value in options.items() if not _hosts(name)}


def _hosts(name: str) -> bool:
    return name in (BELOW, READ_ONLY, SHARED, SECRET) or name.startswith(BACKING) or name.endswith("." + SECRET)


def below(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of options that open a chain, those for the image below the top one."""
    return {name.removeprefix(BACKING): value for name, value in (options or {}).items() if name.startswith(BACKING)}


def secret(format: str, options: Mapping[str, Any] | None) -> str | None:
    """The id of the secret that the options name for an image of this format itself; None where they name none."""
    if not options:
        return None
    for option in registry.spec(format).open_options:
        if _hosts(option.name) and options.get(option.name) is not None:
            return str(options[option.name])
    return None


def require_secret(format: str | None, operation: str, options: Mapping[str, Any] | None, settings: Settings) -> None:
    """Raises InstarError where qemu-img misses the secret of a volume before it looks whether the file is one."""
    if settings.as_qemu and format == "luks" and operation != "info" and secret(format, options) is None:
        raise InstarError(f"Parameter '{SECRET}' is required for cipher")


def key(info: ImageInfo) -> bytes | None:
    """The key that an unlocked image's content is encrypted with."""
    found = (coding.params.get("key") for coding in info.codings)
    return next((value for value in found if isinstance(value, bytes)), None)


def unlocked(
    session: FormatSession, format: str, info: ImageInfo, options: Mapping[str, Any] | None, settings: Settings
) -> ImageInfo:
    """The image with its key, where it is encrypted and the options name a secret; else as it is.

    Raises InstarError where there is no such secret or it opens no key slot, and as qemu-img also where none is named.
    """
    name = secret(format, options) if info.encrypted else None
    if name is None:
        if settings.as_qemu and info.encrypted and info.blocked:
            raise InstarError(info.blocked)
        return info
    if settings.keyring is None:
        raise InstarError(f"No secret with id '{name}'")
    from instar_core import keys

    return keys.unlocked(info, session.unlock(format), settings.keyring.passphrase(name), settings)
