"""How a plugin presents itself: plain data that is read without running any of its hooks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


API = (0, 1)
"""Version of the hook contract: (major, minor). The major is also in the entry-point group's name."""


class Signature(NamedTuple):
    """Bytes by which a file names its format: at `offset` from its start, or from its end where negative."""

    magic: bytes
    offset: int = 0


class Option(NamedTuple):
    """An option of create, amend or opening. `type` is size, bool, str or int; `default` is as a user would type it."""

    name: str
    type: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()


FILE_OPTIONS = (
    Option("nocow", "bool", "Turn off copy-on-write (valid only on btrfs)"),
    Option(
        "preallocation",
        "str",
        "Preallocation mode (allowed values: off, falloc, full)",
        None,
        ("off", "falloc", "full"),
    ),
    Option("extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"),
)
"""What every format accepts for an image that is a plain file, in the order of qemu-img."""


class Capability:
    """What a format can do."""

    READ = "read"
    CREATE = "create"
    FILL = "fill"
    CHECK = "check"
    MEASURE = "measure"
    BACKING = "backing"
    SNAPSHOT = "snapshot"
    BITMAP = "bitmap"
    COMPRESS = "compress"
    ENCRYPT = "encrypt"
    UPDATE = "update"
    RESIZE = "resize"
    REBASE = "rebase"
    EMPTY = "empty"
    AMEND = "amend"
    REPAIR = "repair"


class FormatSpec(NamedTuple):
    """What an entry point of the group instar.formats.v1 names. Importing it parses nothing and costs nothing.

    `hooks` is the module with the hook implementations; `preload` lists, per operation, modules that these need and
    that must therefore be imported before the sandbox closes. `api` is the least contract minor that the plugin needs.
    """

    name: str
    hooks: str
    title: str = ""
    api: tuple[int, int] = (0, 1)
    aliases: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    capabilities: frozenset[str] = frozenset()
    options: tuple[Option, ...] = ()
    amend_options: tuple[Option, ...] = ()
    open_options: tuple[Option, ...] = ()
    preload: Mapping[str, tuple[str, ...]] = {}


def misfit(found: object, name: str) -> str:
    """Why what an entry point of this name leads to cannot be used as a FormatSpec; empty if it can."""
    if not isinstance(found, FormatSpec):
        return "it leads to something that is not a FormatSpec"
    if found.name != name:
        return f"it calls its format {found.name}, its entry point {name}"
    if found.api[0] != API[0] or found.api[1] > API[1]:
        need, have = (".".join(map(str, version)) for version in (found.api, API))
        return f"it needs version {need} of the plugin contract; this is {have}"
    return ""
