"""Option lists (`-o key=value,…`): their syntax, and their values checked against a format's table, in qemu's words."""

from __future__ import annotations

from instar_core.cli.fault import Fault
from instar_core.cli.sizes import WORD, OutOfRange, parse_number, parse_size
from instar_core.limits import OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from instar_core.types import Option

TRUE: Final = ("on", "yes", "true", "y")
FALSE: Final = ("off", "no", "false", "n")
SIZE_HINT: Final = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-",
    "and exabytes, respectively.",
)


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
    """(key, value) in their order: a key alone is on, a key alone that begins with `no` is what follows, off."""
    found = []
    for item in split(text) if text else ():
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


def _value(option: Option, text: str) -> object:
    """The value that the text is for this option."""
    name = option.name
    if option.type == "bool":
        if text not in TRUE + FALSE:
            raise Fault(f"Parameter '{name}' expects 'on' or 'off'")
        return text in TRUE
    if option.type == "size":
        return size(name, text)
    if option.type == "int":
        try:
            return parse_number(text)
        except OutOfRange:
            raise Fault(f"Value '{text}' is too large for parameter '{name}'") from None
        except ValueError:
            raise Fault(f"Parameter '{name}' expects a number") from None
    return text


def size(name: str, text: str) -> int:
    """The bytes that the value of a size option names, below 2^64."""
    try:
        value = parse_size(text)
    except OutOfRange:
        value = WORD
    except ValueError:
        raise Fault(f"Parameter '{name}' expects a non-negative number below 2^64", *SIZE_HINT) from None
    if value >= WORD:
        raise Fault(f"Value '{text}' is out of range for parameter '{name}'")
    return value
