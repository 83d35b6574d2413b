"""An image as it will be once some edits of it are carried out, for a change that consists of several steps."""

from __future__ import annotations

from instar_core.limits import PAGE
from instar_core.source import Image, Source
from instar_core.types import Put, Truncate, Zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit


class Overlay:
    """What was put lies over what is stored. Memory is that of the metadata that the steps write.

    What a step gave up (Punch) has no content that counts. Only device 0 is looked at.
    """

    __slots__ = ("_base", "_kept", "_pages", "_size")

    def __init__(self, base: Source) -> None:
        self._base = base
        self._size = self._kept = base.size
        self._pages: dict[int, bytearray] = {}

    def image(self, below: Image) -> Image:
        """The image as it is by now."""
        return Image((Source(self._pread, self._size, self._base.allocated), *below.devices[1:]), below.options)

    def noted(self, edits: Iterable[Edit]) -> Iterator[Edit]:
        """The same edits, each of which counts from then on."""
        for edit in edits:
            self._note(edit)
            yield edit

    def _note(self, edit: Edit) -> None:
        if isinstance(edit, Put) and not edit.device:
            self._write(edit.offset, edit.data)
        elif isinstance(edit, Zero) and not edit.device:
            self._size = max(self._size, edit.offset + edit.length)
        elif isinstance(edit, Truncate) and not edit.device:
            self._kept = min(self._kept, edit.size)
            self._size = edit.size

    def _write(self, offset: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            number, at = divmod(offset + done, PAGE)
            some = min(PAGE - at, len(data) - done)
            self._page(number)[at : at + some] = data[done : done + some]
            done += some
        self._size = max(self._size, offset + len(data))

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(self._stored(number * PAGE, PAGE))
        return page

    def _stored(self, offset: int, length: int) -> bytes:
        have = max(0, min(length, self._kept - offset))
        return (self._base.read(offset, have) if have else b"").ljust(length, b"\0")

    def _pread(self, length: int, offset: int) -> bytes:
        length = max(0, min(length, self._size - offset))
        made = bytearray(self._stored(offset, length)) if length else bytearray()
        for number in range(offset // PAGE, -(-(offset + length) // PAGE)):
            page = self._pages.get(number)
            if page is not None:
                start, end = max(offset, number * PAGE), min(offset + length, (number + 1) * PAGE)
                made[start - offset : end - offset] = page[start - number * PAGE : end - number * PAGE]
        return bytes(made)
