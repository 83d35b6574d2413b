"""What an examiner of a format is given and what it answers. All offsets and lengths are bytes of the stream."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple


class Piece(NamedTuple):
    """A kept piece of the stream. `done` says that no more of it will come, for it is whole or the stream has ended."""

    offset: int
    data: bytes
    done: bool

    def padded(self, length: int) -> bytes:
        """The first `length` bytes, zeros where there are fewer."""
        return self.data[:length].ljust(length, b"\0")


class Wanted(NamedTuple):
    """A piece that is to be kept too; with `tail` the last `length` bytes of the stream."""

    name: str
    offset: int
    length: int
    tail: bool = False


class Verdict(NamedTuple):
    """What the kept pieces say.

    `match` says whether the stream is of the format. `size` is that of the virtual disk, 0 while it is not known.
    `error` says why the format cannot be read on; empty where it can. `wanted` are pieces to be kept from now on,
    `unwanted` names of those that need not be. `failures` gives, by the name of each safety check that fails, the
    reason. `facts` are fields by their names.
    """

    match: bool
    size: int = 0
    error: str = ""
    wanted: tuple[Wanted, ...] = ()
    unwanted: tuple[str, ...] = ()
    failures: Mapping[str, str] = {}
    facts: Mapping[str, Any] = {}
