"""Options of a format as a user types them, turned into values by the FormatSpec's own table.

Messages are qemu-img's.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, UsageError
from instar_core.sizes import OutOfRange, parse_number, parse_size
from instar_core.spec import FILE_OPTIONS
from instar_core.types import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from instar_core.types import FormatSpec

    Value = int | bool | str | None

SIZE_HINT = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
TRUE, FALSE = ("on", "yes", "true", "y"), ("off", "no", "false", "n")


def parse_bool(name: str, text: str) -> bool:
    """The truth that the text names. Raises UsageError."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise UsageError(f"Parameter '{name}' expects 'on' or 'off'")


def parse_bytes(name: str, text: str) -> int:
    """The bytes that the text names, below 2^64. Raises UsageError."""
    try:
        return parse_size(text)
    except OutOfRange:
        raise UsageError(f"Value '{text}' is out of range for parameter '{name}'") from None
    except ValueError:
        raise UsageError(f"Parameter '{name}' expects a non-negative number below 2^64", hint=SIZE_HINT) from None


def parse_value(option: Option, text: str) -> Value:
    """The value that the text means for this option. Raises UsageError."""
    if option.type == "bool":
        return parse_bool(option.name, text)
    if option.type == "size":
        return parse_bytes(option.name, text)
    if option.type == "int":
        try:
            return parse_number(text)
        except OutOfRange:
            raise UsageError(f"Value '{text}' is too large for parameter '{option.name}'") from None
        except ValueError:
            raise UsageError(f"Parameter '{option.name}' expects a number") from None
    return text


def table(spec: FormatSpec) -> tuple[Option, ...]:
    """The create options of a format with those of the file under it, the format's own first where both have one."""
    own = {option.name for option in spec.options}
    return spec.options + tuple(option for option in FILE_OPTIONS if option.name not in own)


def parse(known: Iterable[Option], given: Mapping[str, str]) -> dict[str, Value]:
    """Values of all known options: parsed where given, else the default, else None.

    Raises UsageError for a name that is not known or a text that does not fit.
    """
    options = {option.name: option for option in known}
    for name in given:
        if name not in options:
            raise UsageError(f"Invalid parameter '{name}'", kind=ErrorKind.USAGE)
    values: dict[str, Value] = {}
    for name, option in options.items():
        text = given.get(name, option.default)
        values[name] = None if text is None else parse_value(option, text)
    return values
