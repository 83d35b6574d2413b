"""Policy files: demands as TOML, on top of ready ones."""

from __future__ import annotations

from instar_core import policy
from instar_core.errors import UsageError
from instar_core.sizes import parse_size
from instar_core.verdict import ready
from instar_core.verdict.demands import Demands, Raw, Soundness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BASE = "base"
NONE = "none"
"""What a limit of a file is where there is to be none."""


def read(path: str) -> Demands:
    """The demands of the file at `path`, whose name they bear. Raises UsageError that names file, key and reason."""
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"Could not open policy '{path}': {error.strerror}") from None
    except ValueError as error:  # of the syntax, or of the encoding
        raise UsageError(f"{path}: {error}") from None
    base = table.pop(BASE, "strict")
    if not isinstance(base, str) or base not in ready.READY:
        raise UsageError(f"{path}: {BASE} expects one of {', '.join(ready.READY)}, not {base!r}")
    made: dict[str, Any] = {"name": path}
    for key, value in table.items():
        field, reader = READERS.get(key, ("", None))
        if reader is None:
            raise UsageError(f"{path}: unknown key '{key}'; there are {BASE}, {', '.join(READERS)}")
        try:
            made[field] = reader(value)
        except ValueError as error:
            raise UsageError(f"{path}: {key} expects {error}, not {value!r}") from None
    return ready.READY[base]._replace(**made)


def chosen(name: str) -> Demands:
    """Ready demands by their name; those of a file where it has a slash or a dot in it. Raises UsageError."""
    return read(name) if "/" in name or "." in name else ready.named(name)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _size(value: object) -> int | None:
    if value == NONE:
        return None
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError:  # OutOfRange among them
            value = None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError('a size (a number of bytes, or a text like "20G") or "none"')
    return value


def _number(least: int) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        if value == NONE:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f'a whole number from {least} on, or "none"')
        return value

    return read


def _multiple(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a number of bytes from 1 on")
    return value


def _seconds(value: object) -> float | None:
    if value == NONE:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError('a number of seconds, or "none"')
    return float(value)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of names")
    return tuple(value)


def _any_or_names(value: object) -> tuple[str, ...] | None:
    if value == "any":
        return None
    try:
        return _names(value)
    except ValueError:
        raise ValueError('a list of names, or "any"') from None


def _folder(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("the absolute path of a folder")
    return value


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return read


READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "formats": ("formats", _any_or_names),
    "declared": ("declared", _truth),
    "raw": ("raw", _one_of((Raw.ANY, Raw.EVIDENCE, Raw.PARTITIONS))),
    "partitions": ("partitions", _truth),
    "references": ("references", _one_of(tuple(policy.PRESETS))),
    "chain": ("chain", _number(1)),
    "extents": ("extents", _number(1)),
    "vmdk-types": ("vmdk_types", _any_or_names),
    "features": ("features", _names),
    "encrypted": ("encrypted", _truth),
    "snapshots": ("snapshots", _number(0)),
    "bitmaps": ("bitmaps", _number(0)),
    "virtual-size": ("virtual_size", _size),
    "stored-size": ("stored_size", _size),
    "ratio": ("ratio", _number(1)),
    "expansion": ("expansion", _number(1)),
    "alignment": ("alignment", _multiple),
    "room": ("room", _folder),
    "check": ("check", _one_of((Soundness.NONE, Soundness.CORRUPTIONS, Soundness.LEAKS))),
    "cpu": ("cpu", _number(1)),
    "memory": ("memory", _size),
    "timeout": ("timeout", _seconds),
}
"""Key of a file → (field of Demands, reader). A reader raises ValueError with what was expected."""
