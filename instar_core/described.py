"""Images that are described by options instead of a name: driver, file, and what the driver opens the file with.

A description is flat: its keys are dotted, as in an option string; `json:` objects are flattened to the same. Of
files there are plain ones and block devices; `backing.…` describes the image below in the same way, and `backing`
without a value says that there is none.
"""

from __future__ import annotations

from instar_core.errors import DeviceError, ErrorKind, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final, NamedTuple
else:
    from instar_core.record import NamedTuple

BACKING: Final = "backing"
HEADER: Final = "header"
RAW: Final = "raw"
PLAIN: Final = "file", "host_device"
"""Drivers of files that are there."""
OF_QEMU: Final = frozenset(
    {
        "blkdebug", "blklogwrites", "blkreplay", "blkverify", "compress", "copy-on-read", "ftp", "ftps", "host_cdrom",
        "http", "https", "io_uring", "nbd", "null-aio", "null-co", "preallocate", "quorum", "raw", "replication",
        "snapshot-access", "throttle", "vvfat",
    }
)  # fmt: skip
"""Drivers of qemu that could stand below a format or above a file, and do not here."""
NO_FILE: Final = 'A block device must be specified for "file"'
NEUTRAL: Final = frozenset(
    {
        "auto-read-only",
        "cache.direct",
        "cache.no-flush",
        "detect-zeroes",
        "discard",
        "force-share",
        "node-name",
        "read-only",
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
        "auto-read-only", "cache.direct", "cache.no-flush", "discard-no-unref", "drop-cache", "force-share",
        "lazy-refcounts", "pass-discard-other", "pass-discard-request", "pass-discard-snapshot", "read-only",
    ),
    "size": ("cache-size", "l2-cache-entry-size", "l2-cache-size", "refcount-cache-size"),
}  # fmt: skip
"""Types of those of them whose values can be wrong."""
CHOICES: Final = {
    "aio": ("threads", "native", "io_uring"),
    "detect-zeroes": ("off", "on", "unmap"),
    "discard": ("ignore", "off", "unmap", "on"),
    "locking": ("auto", "on", "off"),
    "overlap-check": ("none", "constant", "cached", "all"),
}
"""Values of those that have a few only."""
IN_NAMES: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
KEPT: Final = "read-only", "force-share"
"""Those that matter: an image may not be changed, and it may be read though somebody else changes it."""


class Text(str):
    """The value of an option as a user gave it: it is read when the format, and so its type, is known."""

    __slots__ = ()


class Part(NamedTuple):
    """What a description says: the file and its driver's name where it names them, and the options that are left."""

    path: str | None
    driver: str | None
    options: dict[str, Any]


class Whole(NamedTuple):
    """What a description that stands for itself says."""

    path: str
    driver: str | None
    options: dict[str, Any]
    protocol: str = ""
    """qemu's name of the protocol where a file is all that is described: what it holds is the disk then."""


def part(flat: Mapping[str, Any], *, sources: bool = False) -> Part:
    """The description taken apart; the options are Text, but for `backing` as None. Raises UsageError.

    With `sources` the file may be one that a source plugin opens: never where an image describes it.
    """
    left = _unwrapped(flat)
    path = _source(left) if sources else None
    if path is None:
        path = _file(left, "file")
    driver = left.pop("driver", None)
    header = _file(left, HEADER)
    if left.get(BACKING) == "":
        left[BACKING] = None
    options = _kept(flat, "file.")
    for key, value in left.items():
        if value is None and key.rpartition(".")[2] == BACKING:
            options[key] = None
        elif value is None or key == HEADER:
            raise UsageError(f"Cannot find device='{value or ''}' nor node-name='{value or ''}'")
        elif key not in _neutral(driver) or _wrong(key, str(value)):
            options[key] = Text(value)
        elif key in KEPT:
            options.update(_kept({key: value}))
    if header is not None:
        options[HEADER] = header
    return Part(path, driver, options)


def _neutral(format: str | None) -> frozenset[str]:
    """The options of images of the format that change nothing."""
    return NEUTRAL | OF_QCOW2 if format == "qcow2" else NEUTRAL


def _wrong(key: str, text: str) -> UsageError | None:
    """Why the text is no value of the option; None where it is one."""
    from instar_core.options import parse_value
    from instar_core.types import Option

    if key == "node-name" and not (text[:1].isalpha() and set(text) <= IN_NAMES):
        return UsageError(f"Invalid node-name: '{text}'")
    if text not in CHOICES.get(key, (text,)):
        if key == "overlap-check":
            offered = ", ".join(CHOICES[key])
            told = f"Unsupported value '{text}' for qcow2 option '{key}'. Allowed are any of the following: {offered}"
            return UsageError(told)
        return UsageError("Invalid discard option" if key == "discard" else f"invalid parameter value: {text}")
    try:
        for kind, names in TYPED.items():
            if key in names:
                parse_value(Option(key, kind, ""), text)
    except UsageError as error:
        return error
    return None


def _kept(flat: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What a description says of opening that matters."""
    from instar_core.options import TRUE

    return {key: True for key in KEPT if flat.get(before + key) in TRUE}


def whole(flat: Mapping[str, Any], *, sources: bool = False) -> Whole:
    """The description taken apart, of an image or of a file alone. Raises UsageError where it has no file."""
    driver = flat.get("driver")
    if driver in PLAIN:
        own = {key: value for key, value in flat.items() if key != "driver"}
        return Whole(_plain(driver, own), RAW, _kept(flat), driver)
    if sources and driver is not None and _is_source(driver):
        own = {key: value for key, value in flat.items() if key != "driver"}
        return Whole(_named(driver, own), RAW, _kept(flat), driver)
    if driver is not None:
        from instar_core import registry

        if driver in ("nbd", "http", "https"):
            raise _unspoken(driver)
        registry.require(driver)
    found = part(flat, sources=sources)
    if found.path is None:
        missing = "Must specify either driver or file"
        raise UsageError(missing if found.driver is None else NO_FILE)
    return Whole(found.path, found.driver, found.options)


def _unwrapped(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The description without raw nodes between format and file that show all of the file."""
    left = dict(flat)
    while left.get("file.driver") == RAW and any(key.startswith("file.file.") for key in left):
        if "file.offset" in left or "file.size" in left:
            raise UsageError("a part of a file is not supported in this place", kind=ErrorKind.UNSUPPORTED)
        del left["file.driver"]
        for key in [key for key in left if key.startswith("file.")]:
            name = key.removeprefix("file.")
            if name.startswith("file."):
                left[name] = left.pop(key)
            elif name in NEUTRAL:
                del left[key]
            else:
                raise UsageError(f"Block format '{RAW}' does not support the option '{name}'")
    return left


def _source(left: dict[str, Any]) -> str | None:
    """The name of the source that the description's file is, taken out of it; None where it is none."""
    driver = str(left.get("file.driver"))
    if "file" in left or driver in PLAIN or not _is_source(driver):
        return None
    own = {key.removeprefix("file."): left.pop(key) for key in list(left) if key.startswith("file.")}
    del own["driver"]
    return _named(driver, own)


def _is_source(driver: str) -> bool:
    from instar_core.sources import described

    return driver in described.NAMED


def _named(driver: str, own: Mapping[str, Any]) -> str:
    """The name of the source that the options of its node describe. Raises UsageError."""
    from instar_core.sources import described

    return described.name(driver, {key: str(value) for key, value in own.items() if key not in NEUTRAL})


def _file(left: dict[str, Any], node: str) -> str | None:
    """The path of a file node, taken out of the description. Raises UsageError for what is no plain file."""
    if node in left:
        name = left[node] or ""
        raise UsageError(f"Cannot find device='{name}' nor node-name='{name}'")
    start = node + "."
    own = {key.removeprefix(start): left.pop(key) for key in list(left) if key.startswith(start)}
    if not own:
        return None
    if "driver" not in own and "filename" not in own:
        raise UsageError("Must specify either driver or file")
    driver = own.pop("driver", "file")
    if driver not in PLAIN:
        raise _unspoken(driver)
    return _plain(driver, own)


def _plain(driver: str, own: dict[str, Any]) -> str:
    """The path that the options of a file's node name. Raises UsageError."""
    path = own.pop("filename", None)
    if path is None:
        raise UsageError(f"The '{driver}' block driver requires a file name")
    for key, value in own.items():
        wrong = _wrong(key, str(value)) if key in NEUTRAL else None
        if wrong is not None:
            raise wrong
    if driver == "host_device":
        _require_device(path)
    for key in own:
        if key not in NEUTRAL:
            _require_there(path)
            raise UsageError(f"Block protocol '{driver}' doesn't support the option '{key}'")
    return str(path)


def _require_there(path: str) -> None:
    """Raises DeviceError where there is no such file: that is told first. Nothing is opened."""
    import os
    import stat

    from instar_core import device

    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise device.refusal(path, error) from error
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise DeviceError(f"'file' driver requires '{path}' to be a regular file", path=path)


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
    if driver not in OF_QEMU:
        from instar_core import registry

        return UsageError(NO_FILE if registry.known(driver) else f"Unknown driver '{driver}'")
    return UsageError(f"the driver '{driver}' is not supported in this place", kind=ErrorKind.UNSUPPORTED)


class Values(NamedTuple):
    """Options as values. What is wrong is left out: the first value that is none of its type, and the first option that
    there is not."""

    found: dict[str, Any]
    wrong: UsageError | None
    strange: UsageError | None


def values(format: str, options: Mapping[str, Any]) -> Values:
    """The options with every Text read as its format has it; `backing.…` and the file of the header stay."""
    from instar_core import registry
    from instar_core.options import parse_value
    from instar_core.types import Capability

    spec = registry.spec(format)
    known = {option.name: option for option in spec.open_options}
    found: dict[str, Any] = {}
    wrong: list[UsageError] = []
    strange: list[UsageError] = []
    for key, value in options.items():
        if key.startswith(BACKING + ".") and Capability.BACKING not in spec.capabilities:
            wrong.append(UsageError("Driver doesn't support backing files"))
        elif not isinstance(value, Text) or key.startswith(BACKING + "."):
            found[key] = value
        elif key == BACKING:
            found[key] = None
            told = f"Could not open backing file: Cannot find device='{value}' nor node-name='{value}'"
            wrong.append(UsageError(told))
        elif key in known:
            try:
                found[key] = parse_value(known[key], str(value))
            except UsageError as error:
                wrong.append(error)
        elif key in _neutral(format):
            wrong += filter(None, [_wrong(key, str(value))])
        else:
            strange.append(UsageError(f"Block format '{format}' does not support the option '{key}'"))
    return Values(found, next(iter(wrong), None), next(iter(strange), None))
