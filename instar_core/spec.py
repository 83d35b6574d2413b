"""How a plugin presents itself: plain data that is read without running any of its hooks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


API = (1, 0)
"""Version of the plugin API: (major, minor). The major is also in the entry-point group's name; a minor only adds."""


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
    that must therefore be imported before the sandbox closes; "write/KIND" stands for "write" where only requests of
    that kind will be made. `api` is the least version of the API that the plugin
    needs: (1, 0), or the minor of the newest thing in it that the plugin uses.
    """

    name: str
    hooks: str
    title: str = ""
    api: tuple[int, int] = (1, 0)
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
    return _unspoken(found.api)


def _unspoken(api: object) -> str:
    """Why a plugin that states this version of the API cannot be used here; empty if it can."""
    if type(api) is not tuple or len(api) != 2 or not all(type(number) is int for number in api):
        return f"it states {api!r:.40} as the version of the plugin API; that is two numbers"
    if api[0] == API[0] and api[1] <= API[1]:
        return ""
    built, have = (".".join(map(str, version)) for version in (api, API))
    if api[0] < API[0]:
        return f"it was built for version {built} of the plugin API; this instar has {have}: a newer plugin is needed"
    return f"it needs version {built} of the plugin API; this instar has {have}: a newer instar is needed"
