"""The line with which a new image is announced."""

from __future__ import annotations

from instar_core.cli.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.results import Creation


def human(made: Creation) -> str:
    """`Formatting 'F', fmt=FMT key=value …`; commas in values are doubled, so that the list could be used again."""
    words = "".join(f" {key}={_value(value)}" for key, value in made.options)
    return f"Formatting '{printable(made.filename)}', fmt={made.format}{words}\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return printable(str(value).replace(",", ",,"))
