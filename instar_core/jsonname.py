"""json: names: an image described by a JSON object.

A caller may use one wherever a name is expected. In an image only the image policy `qemu` follows them, and only to
plain files: that is the one place where the host reads text of an image for more than its letters.
"""

from __future__ import annotations

from instar_core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

PREFIX: Final = "json:"
LENGTH: Final = 1 << 16
"""Most characters of such a name."""
DEPTH: Final = 64
"""Most objects within objects."""


def parse(name: str) -> dict[str, Any]:
    """The object as a flat description (described.py). Raises UsageError, in qemu-img's words."""
    from instar_core import jsonwords

    if len(name) > LENGTH:
        raise UsageError(f"a json: name has more than {LENGTH} characters")
    try:
        found = jsonwords.parse(name.removeprefix(PREFIX))
    except ValueError as error:
        raise UsageError(f"Could not parse the JSON options: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("Invalid JSON object given")
    flat: dict[str, Any] = {}
    _flatten(found, "", flat, 0)
    return flat


def _flatten(value: dict[str, Any], before: str, flat: dict[str, Any], depth: int) -> None:
    if depth > DEPTH:
        raise UsageError(f"a json: name has more than {DEPTH} objects within objects")
    for key, item in value.items():
        name = before + key
        if isinstance(item, dict):
            _flatten(item, name + ".", flat, depth + 1)
        elif isinstance(item, bool):
            flat[name] = "on" if item else "off"
        elif item is None or isinstance(item, str):
            flat[name] = item
        elif isinstance(item, int):
            flat[name] = str(item)
        else:
            raise UsageError(f"Invalid parameter '{name}'")
