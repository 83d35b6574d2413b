"""Which file a name on the command line means."""

from __future__ import annotations

from instar_core.errors import ErrorKind, UsageError


def local(name: str) -> str:
    """The path that the name stands for: itself, or what follows `file:`.

    Raises UsageError, with the name as its path, for names of protocols and for json: and empty names.
    """
    if not name:
        raise UsageError("The 'file' block driver requires a file name", path=name)
    head, colon, rest = name.partition(":")
    if not colon or "/" in head:
        return name
    if head == "file":
        return rest
    if head == "json":
        raise UsageError("json: names are not supported yet", kind=ErrorKind.UNSUPPORTED, path=name)
    raise UsageError(f"Unknown protocol '{head}'", path=name)
