"""How a source plugin presents itself: plain data."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

API = (1, 0)
"""Version of the API of source plugins: (major, minor). The major is in the entry-point group's name as well."""


EVERY = "*"
"""Stands among the schemes of a plugin that speaks any for which an entry point leads to it."""


class SourceSpec(NamedTuple):
    """What an entry point of the group instar.sources.v1 names. Importing it connects to nothing.

    `opener` is `module:function`; the function is called with a name and whether it is to be written to, in a process
    that does nothing else, and returns a Backend. `schemes` are the protocols that the plugin speaks, each of which has
    an entry point of its name; EVERY stands for whatever entry points lead to it. `title` says what it is. A plugin
    with `files` goes on opening files and connections after that (certificates, further servers); others cannot.
    """

    schemes: tuple[str, ...]
    opener: str
    title: str = ""
    api: tuple[int, int] = (1, 0)
    files: bool = False


def misfit(found: object, scheme: str) -> str:
    """Why what an entry point of this name leads to cannot be used as a SourceSpec; empty if it can."""
    if not isinstance(found, SourceSpec):
        return "it leads to something that is not a SourceSpec"
    if scheme not in found.schemes and EVERY not in found.schemes:
        return f"it does not say that it speaks {scheme}"
    major, minor = API
    if found.api[0] != major or found.api[1] > minor:
        wanted = ".".join(map(str, found.api))
        return f"it needs version {wanted} of the API of source plugins; this instar has {major}.{minor}"
    return ""
