"""Which image a verb is asked about: a file by name, or by an option string (--image-opts).

Of option strings there is what plain files need: driver, file.driver=file, file.filename, the options with which the
driver opens an image, those of the images below it that name their secrets (backing.…), and the file of a header that
lies apart (header.filename). Everything else is refused by name.
"""

from __future__ import annotations

from instar_core.cli import names
from instar_core.cli.fault import Fault, Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.cli.getopt import Parsed
else:
    from instar_core.record import NamedTuple

FILENAMES = ("file.filename", "filename")
BACKING, SECRET, HEADER = "backing.", "key-secret", "header"


class Source(NamedTuple):
    """An image: where it is, its format if that was said, the options to open it with, and how it is shown."""

    path: str
    format: str | None
    options: Mapping[str, Any] | None = None
    shown: str | None = None
    """What to call it, where that is not its path."""


def source(parsed: Parsed, name: str) -> Source:
    """The image that the operand names. Raises Fault and Later for option strings that cannot be followed."""
    if not parsed.get("image_opts"):
        return Source(names.local(name), parsed.get("format"))
    if parsed.get("format"):
        raise Fault("--image-opts and --format are mutually exclusive")
    return described(name)


def described(text: str) -> Source:
    """The image that an option string describes."""
    from instar_core.cli import jsontext, optionlist

    if "=" not in text:
        raise Fault(f"Could not open '{text}': Cannot find device='{text}' nor node-name='{text}'")
    given = dict(optionlist.pairs(text))
    path = next((given.pop(key) for key in FILENAMES if key in given), None)
    if given.pop("file.driver", "file") != "file":
        raise Later("--image-opts with another file.driver than file")
    if path is None:
        raise Fault(f"Could not open '{text}': A block device must be specified for \"file\"")
    driver = given.pop("driver", None)
    if not given:
        return Source(path, driver)
    if driver is None:
        raise Later(f"--image-opts with '{next(iter(given))}' and no driver")
    shown: dict[str, Any] = {"driver": driver, "file": {"driver": "file", "filename": path}}
    header = _header(given)
    if header is not None:
        shown[HEADER] = {"driver": "file", "filename": header}
    shown.update(given)
    options = {**_opening(driver, given), **({HEADER: header} if header is not None else {})}
    return Source(path, driver, options, "json:" + jsontext.line(shown))


def _header(given: dict[str, str]) -> str | None:
    """The file of a header that lies apart, taken out of what was given."""
    if given.pop(f"{HEADER}.driver", "file") != "file":
        raise Later("--image-opts with another header.driver than file")
    return given.pop(f"{HEADER}.filename", None)


def _opening(driver: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The values of the options with which the driver opens an image."""
    from instar_core import registry
    from instar_core.options import parse_value

    known = {option.name: option for option in registry.spec(driver).open_options}
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key in known:
            found[key] = parse_value(known[key], value)
        elif key.startswith(BACKING) and key.endswith(SECRET):
            found[key] = value
        else:
            raise Later(f"--image-opts with '{key}'")
    return found
