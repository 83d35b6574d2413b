"""What every verb that makes an image needs: the target format, its options, and their help text."""

from __future__ import annotations

from instar_core import registry
from instar_core.cli import optionlist
from instar_core.cli.fault import Fault
from instar_core.spec import FILE_OPTIONS
from instar_core.types import Capability, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.types import FormatSpec

SIZE: Final = Option("size", "size", "Virtual disk size")
BACKING: Final = (
    Option("backing_file", "str", "File name of a base image"),
    Option("backing_fmt", "str", "Image format of the base image"),
)
TYPES: Final = {"size": "size", "bool": "bool (on/off)", "int": "num", "str": "str"}


def target(name: str) -> FormatSpec:
    """The format that an image is to be made in. Raises Fault where it cannot be, InstarError where it is unknown."""
    spec = registry.spec(name)
    if Capability.CREATE not in spec.capabilities:
        raise Fault(f"Format driver '{name}' does not support image creation")
    return spec


def options(spec: FormatSpec, *, protocol: bool = True) -> tuple[Option, ...]:
    """All options that -o takes for the format: its own, size and backing, and (`protocol`) those of any file."""
    found = {option.name: option for option in spec.options}
    if not protocol and spec.name == "raw":
        for option in FILE_OPTIONS:
            found.pop(option.name, None)
    more = (SIZE, *(BACKING if Capability.BACKING in spec.capabilities else ()), *(FILE_OPTIONS if protocol else ()))
    for option in more:
        found.setdefault(option.name, option)
    return tuple(found[name] for name in sorted(found))


def checked(text: str | None, spec: FormatSpec) -> dict[str, str]:
    """The -o list as key → value as given. Raises Fault for unknown options and for values of the wrong type."""
    return optionlist.checked(text, options(spec))


def backable(spec: FormatSpec, backing: str | None, backing_format: str | None) -> None:
    """Raises Fault where a backing file, or its format, is given for a format that knows none."""
    for value, what in ((backing, "file"), (backing_format, "file format")):
        if value is not None and Capability.BACKING not in spec.capabilities:
            raise Fault(f"Backing {what} not supported for file format '{spec.name}'")


def option_help(spec: FormatSpec, filename: str | None) -> str:
    """What `-o help` prints: every option with type and meaning."""
    lines = ["Supported options:" if filename is not None else f"Supported {spec.name} options:"]
    for option in options(spec, protocol=filename is not None):
        typed = f"{option.name}=<{TYPES[option.type]}>"
        lines.append(f"  {typed:<22} - {option.help}")
    if filename is None:
        lines += ["", "The protocol level may support further options."]
        lines += ["Specify the target filename to include those options."]
    return "\n".join(lines) + "\n"
