"""Images that are described by options instead of a name: driver, file, and what the driver opens the file with.

A description is flat: its keys are dotted, as in an option string; `json:` objects are flattened to the same. Of
files there are plain ones and block devices; `backing.…` describes the image below in the same way, and `backing`
without a value says that there is none.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final, NamedTuple
else:
    from instar_core.record import NamedTuple

BACKING: Final = "backing"
HEADER: Final = "header"
PLAIN: Final = "file", "host_device"
"""Drivers of files that are there."""
NEUTRAL: Final = frozenset(
    {
        "auto-read-only",
        "cache.direct",
        "cache.no-flush",
        "detect-zeroes",
        "discard",
        "node-name",
        # of the file
        "aio",
        "aio-max-batch",
        "drop-cache",
        "locking",
        "pr-manager",
    }
)
OF_QCOW2: Final = frozenset(
    {
        "cache-clean-interval",
        "cache-size",
        "discard-no-unref",
        "l2-cache-entry-size",
        "l2-cache-size",
        "lazy-refcounts",
        "overlap-check",
        "pass-discard-other",
        "pass-discard-request",
        "pass-discard-snapshot",
        "refcount-cache-size",
    }
)
"""Options that say how, and not what: taking them and going another way changes nothing that can be read."""
TYPED: Final = {
    "bool": (
        "auto-read-only", "cache.direct", "cache.no-flush", "discard-no-unref", "drop-cache", "lazy-refcounts",
        "pass-discard-other", "pass-discard-request", "pass-discard-snapshot",
    ),
    "size": ("cache-size", "l2-cache-entry-size", "l2-cache-size", "refcount-cache-size"),
}  # fmt: skip
"""Types of those of them whose values can be wrong."""


class Text(str):
    """The value of an option as a user gave it: it is read when the format, and so its type, is known."""

    __slots__ = ()


class Part(NamedTuple):
    """What a description says: the file and its driver's name where it names them, and the options that are left."""

    path: str | None
    driver: str | None
    options: dict[str, Any]


def part(flat: Mapping[str, Any], *, sources: bool = False) -> Part:
    """The description taken apart; the options are Text, but for `backing` as None. Raises UsageError.

    With `sources` the file may be one that a source plugin opens: never where an image describes it.
    """
    left = dict(flat)
    path = _source(left) if sources else None
    if path is None:
        path = _file(left, "file")
    driver = left.pop("driver", None)
    header = _file(left, HEADER)
    if left.get(BACKING) == "":
        left[BACKING] = None
    options: dict[str, Any] = {}
    for key, value in left.items():
        if value is None and key.rpartition(".")[2] == BACKING:
            options[key] = None
        elif value is None or key in (BACKING, HEADER):
            raise UsageError(f"Cannot find device='{value or ''}' nor node-name='{value or ''}'")
        elif key in NEUTRAL or (key in OF_QCOW2 and driver in (None, "qcow2")):
            _require_type(key, str(value))
        else:
            options[key] = Text(value)
    if header is not None:
        options[HEADER] = header
    return Part(path, driver, options)


def _require_type(key: str, text: str) -> None:
    """Raises UsageError where the text is no value of the option's type."""
    from instar_core.options import parse_value
    from instar_core.types import Option

    for kind, names in TYPED.items():
        if key in names:
            parse_value(Option(key, kind, ""), text)


def whole(flat: Mapping[str, Any], *, sources: bool = False) -> tuple[str, str | None, dict[str, Any]]:
    """File, driver and options of a description that stands for itself. Raises UsageError where it has no file."""
    found = part(flat, sources=sources)
    if found.driver in PLAIN or found.driver == "nbd":
        raise _unspoken(found.driver)
    if found.path is None:
        if found.driver is not None:
            from instar_core import registry

            registry.require(found.driver)
        missing = "Must specify either driver or file"
        raise UsageError(missing if found.driver is None else 'A block device must be specified for "file"')
    return found.path, found.driver, found.options


def _source(left: dict[str, Any]) -> str | None:
    """The name of the source that the description's file is, taken out of it; None where it is none."""
    driver = str(left.get("file.driver"))
    if "file" in left or driver in PLAIN:
        return None
    from instar_core.sources import described

    if driver not in described.NAMED:
        return None
    own = {key.removeprefix("file."): left.pop(key) for key in list(left) if key.startswith("file.")}
    del own["driver"]
    return described.name(driver, {key: str(value) for key, value in own.items() if key not in NEUTRAL})


def _file(left: dict[str, Any], node: str) -> str | None:
    """The path of a file node, taken out of the description. Raises UsageError for what is no plain file."""
    if node in left:
        name = left[node] or ""
        raise UsageError(f"Cannot find device='{name}' nor node-name='{name}'")
    start = node + "."
    own = {key: left.pop(key) for key in list(left) if key.startswith(start)}
    if not own:
        return None
    driver = own.pop(start + "driver", "file")
    if driver not in PLAIN:
        raise _unspoken(driver)
    path = own.pop(start + "filename", None)
    if path is None:
        raise UsageError(f"The '{driver}' block driver requires a file name")
    for key in own:
        if key.removeprefix(start) not in NEUTRAL:
            raise UsageError(f"Block protocol '{driver}' doesn't support the option '{key.removeprefix(start)}'")
    if driver == "host_device":
        _require_device(path)
    return str(path)


def _require_device(path: str) -> None:
    import os
    import stat

    try:
        block = stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return  # whoever opens it says why it cannot
    if not block:
        raise UsageError(f"'host_device' driver requires '{path}' to be either a character or block device")


def _unspoken(driver: str) -> UsageError:
    from instar_core.protocols import INSTEAD

    instead = INSTEAD.get(driver)
    if instead is not None:
        return UsageError(f"{driver} is not spoken here: {instead}", kind=ErrorKind.UNSUPPORTED)
    return UsageError(f"the driver '{driver}' is not supported in this place", kind=ErrorKind.UNSUPPORTED)


def values(format: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every Text read as its format has it; `backing.…` and the file of the header stay.

    Raises UsageError for an option that the format does not have, and for a text that is no value of its type.
    """
    from instar_core import registry
    from instar_core.options import parse_value

    known = {option.name: option for option in registry.spec(format).open_options}
    found: dict[str, Any] = {}
    for key, value in options.items():
        if not isinstance(value, Text) or key.startswith(BACKING + "."):
            found[key] = value
        elif key in known:
            found[key] = parse_value(known[key], str(value))
        else:
            raise UsageError(f"Block format '{format}' does not support the option '{key}'")
    return found
