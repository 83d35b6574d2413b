"""Images of a chain that are described rather than named: by the caller, or, where policy follows it, by an image."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import described, jsonname, policy, registry
from instar_core import device as devices
from instar_core.errors import ErrorKind, FormatError, Loop, UsageError
from instar_core.types import Capability, Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.settings import Settings


def named(
    name: str, format: str | None, options: Mapping[str, Any] | None
) -> tuple[str, str | None, Mapping[str, Any] | None]:
    """File, format and options of the image that a caller's json: name describes.

    What the caller says besides counts more. Raises UsageError with the name as its path.
    """
    try:
        path, driver, more = described.whole(jsonname.parse(name), sources=True)
    except UsageError as error:
        error.path = name
        raise
    return path, format or driver, {**more, **(options or {})}


def require_backing(above: Member, path: str) -> None:
    """Raises UsageError with the path where the image's format knows no backing files."""
    if Capability.BACKING not in registry.spec(above.format).capabilities:
        raise UsageError("Driver doesn't support backing files", path=path)


def opened(
    above: Member,
    options: Mapping[str, Any],
    seen: set[Any],
    settings: Settings,
    operation: str,
    whole: bool,
    held: Collection[Any],
) -> Member:
    """The backing image that the caller chose instead of the one that the image above names.

    Policy has no say in what a caller names. The format that the image declares counts where the caller names none.
    """
    found = described.part(options, sources=True)
    path = found.path or ""
    reference = above.reference()
    format = found.driver or (reference.format if reference is not None else None)
    device = _once(devices.open_named(path), path, seen)
    return chains.open_member(
        path, settings, operation, format=format, device=device, whole=whole, options=found.options, held=held
    )


def described_by_image(
    name: str,
    declared: str | None,
    seen: set[Any],
    settings: Settings,
    operation: str,
    whole: bool,
    held: Collection[Any],
) -> Member:
    """The backing image that an image's json: name describes, under a policy that lets everything pass."""
    try:
        path, driver, options = described.whole(jsonname.parse(name))
        if chains.HEADER in options or any(key.startswith("backing.file") for key in options):
            raise UsageError("more than one file is described")
    except UsageError as error:
        raise FormatError(f"'{name}': {error.message}", kind=ErrorKind.UNSUPPORTED, path=name) from error
    place = devices.Place(path)
    try:
        policy.judge(Role.BACKING, place, "/", settings)
        device = _once(place.open(), name, seen)
    finally:
        place.close()
    lenient = settings._replace(unsafe_quirks=True)
    below = chains.open_member(
        path, lenient, operation, format=driver or declared, options=options, device=device, whole=whole, held=held
    )
    below.shown = name
    return below


def _once(device: Device, name: str, seen: set[Any]) -> Device:
    """The file, which no image above it is in. Raises FormatError for a loop."""
    if device.identity in seen:
        device.close()
        raise Loop(f"Backing file '{name}' creates an infinite loop.", path=name)
    seen.add(device.identity)
    return device
