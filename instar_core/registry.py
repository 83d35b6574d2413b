"""Which formats are installed, without importing any plugin.

The start path reads the entry-point files of the distributions on sys.path directly; `full` asks importlib_metadata,
which also knows zips and other finders, and costs ten times an interpreter start. A test holds the two equal.
"""

from __future__ import annotations

import os
import sys

from instar_core import signatures
from instar_core.errors import NotInstalled, Unusable, UsageError
from instar_core.spec import misfit
from instar_core.types import GROUP, FormatSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


SOURCES = "instar.sources.v1"
"""Entry-point group in which source plugins stand."""


class Entry(NamedTuple):
    """An entry point of the group instar.formats.v1, or of SOURCES: its name, value (module:attribute), distribution
    and version.

    `reason` says why it cannot be used; empty while nothing speaks against it.
    """

    name: str
    value: str
    distribution: str
    version: str
    reason: str = ""


_found: dict[tuple[str, ...], dict[str, Entry]] = {}
_sources: dict[tuple[str, ...], dict[str, Entry]] = {}


def entries() -> dict[str, Entry]:
    """All installed formats by name. Two distributions that claim one name make it unusable, naming both.

    Read once for each state of sys.path; `forget` makes it be read anew.
    """
    key = tuple(sys.path)
    made = _found.get(key)
    if made is None:
        made = _found[key] = combine(scan(sys.path))
    return made


def sources() -> dict[str, Entry]:
    """All installed source plugins by the protocols that they speak, as `entries` has formats."""
    key = tuple(sys.path)
    made = _sources.get(key)
    if made is None:
        made = _sources[key] = combine(scan(sys.path, SOURCES), "protocol")
    return made


def forget() -> None:
    """What is installed is looked up anew at the next call."""
    _found.clear()
    _sources.clear()


def combine(found: Iterator[Entry], noun: str = "format") -> dict[str, Entry]:
    """Entries by name; of a distribution that is on the path twice the first counts, as at import."""
    made: dict[str, Entry] = {}
    for entry in found:
        other = made.get(entry.name)
        if other is None:
            made[entry.name] = entry
        elif other.distribution != entry.distribution and not other.reason:
            both = " and ".join(sorted((other.distribution, entry.distribution)))
            made[entry.name] = other._replace(reason=f"two distributions claim the {noun} {entry.name}: {both}")
    return made


def scan(path: list[str], group: str = GROUP) -> Iterator[Entry]:
    """The entries of the group that stand in *.dist-info and *.egg-info folders of the path, in its order."""
    seen = set()
    for folder in path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), "rb", buffering=0) as file:
                    text = file.readall()
            except OSError:
                continue
            if group.encode() not in text:
                continue
            distribution, version = _identity(os.path.join(folder, name), name)
            if distribution in seen:
                continue
            seen.add(distribution)
            for key, value in _section(text.decode("utf-8", "replace"), group):
                yield Entry(key, value, distribution, version)


def _identity(folder: str, name: str) -> tuple[str, str]:
    """Name and version of a distribution: as its folder is called, which for *.egg-info may leave out the version."""
    stem, _, kind = name.rpartition(".")
    fields = {} if kind == "dist-info" else _metadata(folder)
    words = stem.rpartition("-") if kind == "dist-info" else stem.partition("-")
    own = fields.get("Name", words[0])
    return own.lower().replace("_", "-").replace(".", "-"), fields.get("Version", words[2])


def _metadata(folder: str) -> dict[str, str]:
    """The header lines of a distribution's PKG-INFO; none where it has none."""
    fields: dict[str, str] = {}
    try:
        with open(os.path.join(folder, "PKG-INFO"), encoding="utf-8", errors="replace") as file:
            for line in file:
                key, colon, value = line.partition(":")
                if not colon:
                    break
                fields.setdefault(key, value.strip())
    except OSError:
        return fields
    return fields


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    here = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            here = line == f"[{group}]"
        elif here and line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield key.strip(), value.split("[")[0].strip()


def full(group: str = GROUP) -> dict[str, Entry]:
    """The same by importlib_metadata: every finder, zips included."""
    import importlib_metadata

    def found() -> Iterator[Entry]:
        for distribution in importlib_metadata.distributions():
            for point in distribution.entry_points:
                if point.group == group:
                    name = distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")
                    yield Entry(point.name, f"{point.module}:{point.attr}", name, distribution.version)

    return combine(found())


def values() -> dict[str, str]:
    """Format name → module:attribute of the usable entries, as a worker needs it."""
    return {name: entry.value for name, entry in entries().items() if not entry.reason}


def spec(name: str) -> FormatSpec:
    """The FormatSpec of a format.

    Raises NotInstalled for a known format without plugin, Unusable for a broken one, UsageError for an unknown name.
    """
    return load(entry_of(name, f"Unknown file format '{name}'"))


def known(name: str) -> bool:
    """Whether the format is installed, or at least known to exist."""
    return name in entries() or any(each.format == name and each.distribution for each in signatures.KNOWN)


def require(name: str) -> None:
    """Nothing happens if the format is installed. Raises as `spec`, without importing anything."""
    entry_of(name, f"Unknown driver '{name}'")


def entry_of(name: str, unknown: str) -> Entry:
    """The usable entry of a format. Raises as `spec`; `unknown` is the message for a name that nobody knows."""
    entry = entries().get(name)
    if entry is None:
        for known, _title, distribution, *_ in signatures.KNOWN:
            if known == name and distribution:
                raise NotInstalled(f"the format {name} needs {distribution}, which is not installed")
        raise UsageError(unknown)
    if entry.reason:
        raise Unusable(entry.reason)
    return entry


def load(entry: Entry) -> FormatSpec:
    """The entry's FormatSpec, checked. Raises Unusable, naming distribution and reason, whatever goes wrong."""
    module, _, attribute = entry.value.partition(":")
    try:
        __import__(module)
        found = getattr(sys.modules[module], attribute)
    except Exception as error:  # a plugin may fail in any way when imported, and must harm nobody else
        raise Unusable(f"{entry.distribution} cannot be imported: {type(error).__name__}: {error}") from error
    reason = misfit(found, entry.name)
    if reason:
        raise Unusable(f"{entry.distribution} cannot be used: {reason}")
    return found  # type: ignore[no-any-return]  # misfit has looked


def formats() -> list[tuple[Entry, FormatSpec | None, str]]:
    """Every installed format, sorted by name: its entry, its spec or None, and why there is none."""
    listed: list[tuple[Entry, FormatSpec | None, str]] = []
    for entry in sorted(entries().values()):
        try:
            listed.append((entry, load(entry) if not entry.reason else None, entry.reason))
        except Unusable as error:
            listed.append((entry, None, error.message))
    return listed
