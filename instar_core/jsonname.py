"""json: names of backing files, which only the image policy `qemu` follows, and only to plain files.

The one place where the host reads text of an image for more than its letters; no other policy leads here.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple

PREFIX = "json:"


class Named(NamedTuple):
    """What a json: name says: the file, its driver where that is named, and the options to open it with."""

    path: str
    driver: str | None
    options: dict[str, str]


def parse(name: str) -> Named:
    """The plain file that the name describes. Raises FormatError for anything that is none."""
    import json

    try:
        found = json.loads(name.removeprefix(PREFIX))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"'{name}' is not JSON", kind=ErrorKind.INVALID) from error
    flat: dict[str, str] = {}
    if not isinstance(found, dict) or not _flatten(found, "", flat):
        raise FormatError(f"'{name}' does not describe a file", kind=ErrorKind.UNSUPPORTED)
    path = flat.pop("file.filename", None)
    if path is None or flat.pop("file.driver", "file") != "file":
        raise FormatError(f"'{name}' does not describe a plain file", kind=ErrorKind.UNSUPPORTED)
    return Named(path, flat.pop("driver", None), flat)


def _flatten(value: dict[str, Any], before: str, flat: dict[str, str]) -> bool:
    for key, item in value.items():
        if isinstance(item, dict):
            if before or not _flatten(item, f"{key}.", flat):
                return False
        elif isinstance(item, bool) or not isinstance(item, str | int):
            return False
        else:
            flat[before + key] = str(item)
    return True
