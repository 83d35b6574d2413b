"""Which image a verb is asked about: a file by name, a json: name, or an option string (--image-opts).

The two latter describe an image by options; described.py says which there are, and everything else is refused by name.
"""

from __future__ import annotations

from instar_core.cli import names
from instar_core.cli.fault import Fault
from instar_core.errors import InstarError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.cli.getopt import Parsed
else:
    from instar_core.record import NamedTuple


class Operand(str):
    """A path that the command line calls by another name: two operands may name one file in two ways."""

    __slots__ = ("typed",)

    typed: str

    def __new__(cls, path: str, typed: str) -> Operand:
        """The path, as `typed` names it."""
        made = super().__new__(cls, path)
        made.typed = typed
        return made


class Source(NamedTuple):
    """An image: where it is, its format if that was said, and the options to open it with."""

    path: str
    format: str | None
    options: Mapping[str, Any] | None = None
    protocol: str = ""
    """qemu's name of the protocol where a file is described, and no image in it."""


def source(parsed: Parsed, name: str) -> Source:
    """The image that the operand names. Raises UsageError and Fault for what cannot be followed."""
    if not parsed.get("image_opts"):
        return named(name, parsed.get("format"))
    if parsed.get("format") is not None:
        raise Fault("--image-opts and --format are mutually exclusive")
    return described(name)


def refuse_share(asked: Source) -> UsageError:
    """Why an image that others may be writing to is not changed."""
    from instar_core import registry

    if asked.format is not None and not registry.known(asked.format):
        return UsageError(f"Unknown driver '{asked.format}'", path=asked.path)
    return UsageError("force-share=on can only be used with read-only images", path=asked.path)


def named(name: str, format: str | None) -> Source:
    """The image of that name, a plain or a json: one; `format` is what the command line says of it."""
    if names.protocol(name) == "json":
        from instar_core import chosen

        return _told(name, Source(*chosen.named(name, format, None)))
    path = names.local(name)
    return Source(path if path == name else Operand(path, name), format)


def described(text: str) -> Source:
    """The image that an option string describes. Raises UsageError with the text as its path."""
    from instar_core import described as descriptions
    from instar_core.cli import optionlist

    try:
        if "=" not in text:
            raise UsageError(f"Cannot find device='{text}' nor node-name='{text}'")
        found = Source(*descriptions.whole(dict(optionlist.pairs(text)), sources=True))
    except InstarError as error:
        error.path = text
        raise
    return _told(text, found)


def shown(asked: Source, format: str) -> str | None:
    """What info calls an image that was described, where that is not its path: the options that matter for content."""
    neutral = ("encrypt.format", "read-only", "force-share")
    matter = {key: value for key, value in (asked.options or {}).items() if key not in neutral and value is not None}
    if not matter:
        return None
    from instar_core.cli import jsontext

    told: dict[str, Any] = {"driver": format, "file": {"driver": "file", "filename": asked.path}}
    if names.protocol(asked.path):
        from instar_core.sources import described as sources

        told["file"] = sources.node(asked.path)
    for key, value in matter.items():
        told[key] = {"driver": "file", "filename": value} if key == "header" else value
    return "json:" + jsontext.line(told)


def _told(name: str, found: Source) -> Source:
    """Messages about the image are to call it by the name that was typed."""
    return found._replace(path=Operand(found.path, name), options=found.options or None)
