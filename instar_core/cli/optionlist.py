"""Option lists (`-o key=value,…`): their syntax, and their values checked against a format's table, in qemu's words."""

from __future__ import annotations

from instar_core.cli.fault import Fault
from instar_core.errors import UsageError
from instar_core.limits import OPTION
from instar_core.options import parse_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_core.types import Option


def gather(text: str, before: str | None) -> str:
    """What was kept of earlier -o options with this one behind. Raises Fault for a list that cannot be one."""
    if not text or text.startswith(",") or _open_end(text) or len(text) > OPTION:
        raise Fault(f"Invalid option list: {text if len(text) <= OPTION else text[:60] + '…'}")
    return text if before is None else f"{before},{text}"


def _open_end(text: str) -> bool:
    """Whether the list ends in a comma that is no doubled one."""
    return (len(text) - len(text.rstrip(","))) % 2 == 1


def split(text: str) -> list[str]:
    """The items of a list, doubled commas made single."""
    return [item.replace("\0", ",") for item in text.replace(",,", "\0").split(",")]


def wants_help(text: str | None) -> bool:
    """Whether one of the items asks what options there are."""
    return text is not None and any(item.split(",")[0] in ("help", "?") for item in split(text))


def pairs(text: str | None) -> list[tuple[str, str]]:
    """(key, value) in their order: a key alone is on, a key alone that begins with `no` is what follows, off.

    A comma at the end counts for nothing.
    """
    found = []
    items = split(text) if text else []
    for item in items[:-1] if items and not items[-1] else items:
        key, equals, value = item.partition("=")
        if not equals:
            key, value = (key[2:], "off") if key.startswith("no") else (key, "on")
        found.append((key, value))
    return found


def checked(text: str | None, options: Iterable[Option]) -> dict[str, str]:
    """The list as key → value as given, the last of a key counting, each value of its option's type.

    Raises Fault at the first item that names no option or has no value of its type.
    """
    known = {option.name: option for option in options}
    found: dict[str, str] = {}
    for key, value in pairs(text):
        option = known.get(key)
        if option is None:
            raise Fault(f"Invalid parameter '{key}'")
        _value(option, value)
        found.pop(key, None)
        found[key] = value
    return found


def _value(option: Option, text: str) -> None:
    """Nothing happens if the text is a value of the option's type. Raises Fault."""
    try:
        parse_value(option, text)
    except UsageError as error:
        raise Fault(error.message, *(error.hint.split("\n") if error.hint else ())) from None
