"""Images of a chain that are described rather than named: by the caller, or, where policy follows it, by an image."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import described, jsonname, policy, registry, unlocking
from instar_core import device as devices
from instar_core.errors import ErrorKind, FormatError, InstarError, Loop, UsageError
from instar_core.types import Capability, Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.described import Whole
    from instar_core.device import Device
    from instar_core.settings import Settings


def named(name: str, format: str | None, options: Mapping[str, Any] | None) -> Whole:
    """File, format and options of the image that a caller's json: name describes.

    What the caller says besides counts more. Raises UsageError with the name as its path.
    """
    try:
        found = _whole(name, format, sources=True)
    except InstarError as error:
        error.path = name
        raise
    return found._replace(options={**found.options, **(options or {})})


def _whole(name: str, format: str | None, *, sources: bool) -> Whole:
    """What the json: name describes, in that format if one is said. Raises UsageError."""
    flat = jsonname.parse(name)
    if format is not None:
        flat["driver"] = format
    return described.whole(flat, sources=sources)


def read(format: str, options: Mapping[str, Any], path: str, settings: Settings, operation: str) -> dict[str, Any]:
    """The options as values, now that the format is known. Raises InstarError with the path.

    What is wrong with the image is told before a value that is none, and what is wrong with those below it before an
    option that there is not.
    """
    found, wrong, strange = described.values(format, options)
    if wrong is not None:
        chains.open_member(path, settings, "info", format=format, options=found).close()
    elif strange is not None:
        asked = operation if operation == "info" else "map"
        chains.open_chain(path, settings, asked, format=format, options=found).close()
    for error in (wrong, strange):
        if error is not None:
            error.path = path
            raise error
    return found


def require_changeable(path: str, settings: Settings, format: str | None, options: Mapping[str, Any]) -> None:
    """Raises InstarError where the options let an image only be read."""
    if options.get(unlocking.SHARED) is True:
        raise UsageError("force-share=on can only be used with read-only images", path=path)
    if options.get(unlocking.READ_ONLY) is True:
        chains.open_member(path, settings, "map", format=format, options=options).close()
        raise UsageError("Block node is read-only", path=path)


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
        path, driver, options, _ = _whole(name, declared, sources=False)
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
        path, lenient, operation, format=driver, options=options, device=device, whole=whole, held=held
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
