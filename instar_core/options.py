"""Options of a format as a user types them, turned into values by the FormatSpec's own table.

Messages are qemu-img's.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, UsageError
from instar_core.types import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from instar_core.types import FormatSpec

    Value = int | bool | str | None

SUFFIXES = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
SIZE_HINT = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
TRUE, FALSE = ("on", "yes", "true", "y"), ("off", "no", "false", "n")

FILE_OPTIONS = (
    Option("extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"),
    Option("nocow", "bool", "Turn off copy-on-write (valid only on btrfs)"),
    Option(
        "preallocation",
        "str",
        "Preallocation mode (allowed values: off, falloc, full)",
        None,
        ("off", "falloc", "full"),
    ),
)
"""What every format accepts for an image that is a plain file."""


def parse_size(text: str) -> int | None:
    """Bytes that a size names: decimal or 0x, one suffix of b k M G T P E (1024-based), a fraction only with a suffix.

    None for anything else, and for sizes of 2**64 and more.
    """
    body, shift = text.strip(" \t\n\v\f\r") if text[:1].isspace() else text, 0
    if not body or body[0] not in "0123456789.+":
        return None
    if body[:2].lower() == "0x":
        digits = body[2:]
        if digits and all(c in "0123456789abcdefABCDEF" for c in digits):
            value = int(digits, 16)
            return value if value < 1 << 64 else None
        return None
    suffixed = body[-1].lower() in SUFFIXES
    if suffixed:
        shift = SUFFIXES[body[-1].lower()]
        body = body[:-1]
    body = body.removeprefix("+")
    whole, dot, fraction = body.partition(".")
    if (whole and not (whole.isascii() and whole.isdigit())) or (
        fraction and not (fraction.isascii() and fraction.isdigit())
    ):
        return None
    if not whole and not fraction:
        return None
    if dot and (not suffixed or not shift):
        return None
    value = int(whole or "0") << shift
    if fraction:
        value += (int(fraction) << shift) // 10 ** len(fraction)
    return value if value < 1 << 64 else None


def parse_bool(name: str, text: str) -> bool:
    """The truth that the text names. Raises UsageError."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise UsageError(f"Parameter '{name}' expects 'on' or 'off'")


def parse_value(option: Option, text: str) -> Value:
    """The value that the text means for this option. Raises UsageError."""
    if option.type == "bool":
        return parse_bool(option.name, text)
    if option.type == "size":
        value = parse_size(text)
        if value is None:
            raise UsageError(f"Parameter '{option.name}' expects a non-negative number below 2^64", hint=SIZE_HINT)
        return value
    if option.type == "int":
        digits = text[2:] if text[:2].lower() == "0x" else text
        try:
            number = int(text, 16 if digits is not text else 10)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 64:
            raise UsageError(f"Parameter '{option.name}' expects a number")
        return number
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
