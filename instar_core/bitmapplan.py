"""Several actions on one dirty bitmap as one change: each is judged as if those before it were done already."""

from __future__ import annotations

from instar_core.dirty import usable
from instar_core.errors import ErrorKind, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final, NamedTuple

    from instar_core.types import Bitmap
else:
    from instar_core.record import NamedTuple

REMOVE: Final = "Try block-dirty-bitmap-remove to delete this bitmap from disk"
"""The advice that qemu gives for a bitmap in use."""


class Action(NamedTuple):
    """One of add, remove, remove-all, clear, enable, disable, or merge of the bitmap `source`."""

    verb: str
    source: str = ""


class Side(NamedTuple):
    """An image whose bitmaps are looked at: what it has by name, and the bytes of its disk."""

    bitmaps: Mapping[str, Bitmap]
    size: int


class Plan:
    """What is left to be done to the bitmap `name` when all actions so far are taken together.

    `merges` names the bitmaps that are merged, of the image itself or of the other one. The content so far is "old",
    "cleared", "new" (there was none, or it was removed), or "" where there is none.
    """

    def __init__(self, name: str, own: Side, other: Side | None, refused: str = "") -> None:
        """`other` is the image that bitmaps are merged from, if that is not the image itself. `refused` says why no
        bitmap can be added."""
        self.name = name
        self.own = own
        self.other = other
        self.merges: list[str] = []
        self._refused = refused
        self._content = "old" if name in own.bitmaps else ""
        self._broken = name in own.bitmaps and not usable(own.bitmaps[name])
        self._emptied = False
        self._enabled: bool | None = None

    def take(self, action: Action) -> None:
        """The action is part of the plan. Raises InstarError, in qemu's words, where it cannot be done."""
        getattr(self, "_" + action.verb.replace("-", "_"))(action)

    def steps(self) -> tuple[str, ...]:
        """The actions that make the same of the image, in the order add, clear, merge, enable or disable."""
        found = []
        if self._emptied and self.own.bitmaps:
            found.append("remove-all")
        elif self.name in self.own.bitmaps and self._content in ("", "new"):
            found.append("remove")
        if self._content == "new":
            found.append("add")
        if self._content == "cleared":
            found.append("clear")
        if self.merges:
            found.append("merge")
        if self._content and self._enabled is not None and not (self._enabled and self._content == "new"):
            found.append("enable" if self._enabled else "disable")
        return tuple(found)

    def _add(self, _: Action) -> None:
        if not self.name:
            raise InstarError("Bitmap name cannot be empty")
        if self._refused:
            raise InstarError(self._refused, kind=ErrorKind.UNSUPPORTED)
        if self._content:
            raise InstarError(f"Bitmap already exists: {self.name}")
        self._content, self._enabled = "new", None

    def _remove(self, _: Action) -> None:
        self._there()
        self._content, self._broken = "", False
        self.merges.clear()

    def _remove_all(self, _: Action) -> None:
        self._content, self._broken, self._emptied = "", False, True
        self.merges.clear()

    def _clear(self, _: Action) -> None:
        self._usable()
        self._content = "new" if self._content == "new" else "cleared"
        self.merges.clear()

    def _enable(self, _: Action) -> None:
        self._usable()
        self._enabled = True

    def _disable(self, _: Action) -> None:
        self._usable()
        self._enabled = False

    def _merge(self, action: Action) -> None:
        self._there()
        source = action.source
        itself = self.other is None and source == self.name
        found = None if itself else self._known().get(source)
        if found is None and not itself:
            raise not_found(source)
        self._usable()
        if found is None:
            return
        if not usable(found):
            raise inconsistent(source)
        if self.other is not None and self.other.size != self.own.size:
            raise InstarError(
                f"Bitmaps are of different sizes (destination size is {self.own.size}, source size is "
                f"{self.other.size}) and can't be merged"
            )
        if source not in self.merges:
            self.merges.append(source)

    def _known(self) -> Mapping[str, Bitmap]:
        if self.other is not None:
            return self.other.bitmaps
        return {} if self._emptied else self.own.bitmaps

    def _there(self) -> None:
        if not self._content:
            raise not_found(self.name)

    def _usable(self) -> None:
        self._there()
        if self._broken:
            raise inconsistent(self.name)


def not_found(name: str) -> InstarError:
    """There is no such bitmap."""
    return InstarError(f"Dirty bitmap '{name}' not found", kind=ErrorKind.MISSING)


def inconsistent(name: str) -> InstarError:
    """The bitmap cannot be relied on."""
    return InstarError(f"Bitmap '{name}' is inconsistent and cannot be used", kind=ErrorKind.CORRUPT, hint=REMOVE)


def side(bitmaps: Iterable[Bitmap], size: int) -> Side:
    """An image with these bitmaps."""
    return Side({bitmap.name: bitmap for bitmap in bitmaps}, size)
