"""Readers of option values: text in, value or Fault out, in qemu-img's words."""

from __future__ import annotations

from instar_core.cli.fault import Fault, Later
from instar_core.cli.getopt import Opt
from instar_core.sizes import HIGHEST, OutOfRange, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NoReturn

CACHES: Final = ("none", "off", "directsync", "writeback", "writethrough", "unsafe")


def size(what: str, least: int = 0, most: int = HIGHEST) -> Callable[[str], int]:
    """A reader of sizes between two bounds; `what` names the thing in the message."""

    def read(text: str) -> int:
        try:
            value = parse_size(text)
        except OutOfRange:
            value = -1
        except ValueError:
            raise Fault(f"Invalid {what} specified: '{text}'") from None
        if not least <= value <= most:
            raise Fault(f"Invalid {what} specified. Must be between {least} and {most}.")
        return value

    return read


def number(what: str, least: int, most: int) -> Callable[[str], int]:
    """A reader of plain numbers between two bounds: suffixes are not taken."""
    within = size(what, least, most)

    def read(text: str) -> int:
        if text and text[-1].isalpha() and not text.lower().startswith("0x"):
            raise Fault(f"Invalid {what} specified: '{text}'")
        return within(text)

    return read


def output(text: str) -> str:
    """human or json."""
    if text not in ("human", "json"):
        raise Fault(f"--output expects 'human' or 'json', not '{text}'", usage=True)
    return text


def repair(text: str) -> str:
    """leaks or all."""
    if text not in ("leaks", "all"):
        raise Fault(f"--repair (-r) expects 'leaks' or 'all', not '{text}'", usage=True)
    return text


def later(what: str) -> Callable[..., NoReturn]:
    """A reader that refuses the option, whatever its value."""

    def read(_text: str) -> NoReturn:
        raise Later(what)

    return read


def cache(mode: str | None, default: str, *, source: bool = False, code: int = 1) -> str:
    """The cache mode, or the default where none was given; Fault where it is none."""
    if mode is None:
        return default
    if mode not in CACHES:
        raise Fault(f"Invalid {'source ' if source else ''}cache option: {mode}", code=code)
    return "none" if mode == "off" else mode


def defined(text: str, before: tuple[str, ...] | None) -> tuple[str, ...]:
    """The definitions of objects so far, with this one."""
    return (*(before or ()), text)


OBJECT: Final = Opt(
    "object",
    "",
    "object",
    "OBJDEF",
    ("defines QEMU user-creatable object: secret,id=ID,data=TEXT|file=FILE[,format=raw|base64][,keyid=ID,iv=IV]",),
    defined,
    True,
)
SHARE: Final = Opt("share", "U", "force-share", "", ("open image in shared mode for concurrent access",))
QUIET: Final = Opt("quiet", "q", "quiet", "", ("quiet mode (produce only error messages if any)",))
PROGRESS: Final = Opt("progress", "p", "progress", "", ("display progress information",))
OUTPUT: Final = Opt("output", "", "output", "human|json", ("specify output format (default: human)",), output)
FORMAT: Final = Opt(
    "format", "f", "format", "FMT", ("specify FILE image format explicitly (default: probing is used)",)
)
IMAGE_OPTS: Final = Opt(
    "image_opts",
    "",
    "image-opts",
    "",
    ("treat FILE as an option string (key=value,..), not a file name", "(incompatible with -f|--format)"),
)
FILE: Final = ("FILE", ("name of the image file",))
