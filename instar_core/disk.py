"""An image as a file object: its virtual disk, read at any place."""

from __future__ import annotations

import io
from itertools import chain

from instar_core import chain as chains
from instar_core import merge, stretches
from instar_core.mapranges import joined
from instar_core.operations import layers
from instar_core.operations.info import describe
from instar_core.operations.map import looks, unjoined
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.mapranges import Ranges
    from instar_core.piece import Piece
    from instar_core.results import DiskInfo, MapRange
    from instar_core.settings import Settings

WINDOW = 1 << 30
"""Bytes of the disk whose extents are asked for at once, to begin with."""
SMALLEST = 16 << 20
MANY = 4096
"""Extents in a window of which the next is smaller, not larger."""


class Disk(io.RawIOBase):
    """The virtual disk of an image and its chain, read-only. A context manager; not for several threads at once."""

    def __init__(
        self,
        path: str,
        *,
        format: str | None = None,
        snapshot: str | None = None,
        open_options: Mapping[str, Any] | None = None,
        settings: Settings = DEFAULTS,
    ) -> None:
        super().__init__()
        self._top = chains.open_chain(path, settings, "map", format=format, options=open_options)
        try:
            self._layer = layers.chosen(self._top, snapshot)
            self.size = merge.layer_size(self._top, self._layer)
            from instar_core.dataplane.content import Content
            from instar_core.dataplane.windows import Windows

            told = Windows(self._pieces, self.size)
            self._content = Content(told.pieces, sandbox=settings.sandbox, guarded=bool(settings.keyring))
        except BaseException:
            self._top.close()
            raise
        self._at = 0

    @property
    def info(self) -> DiskInfo:
        """What the image says of itself."""
        return describe(self._top)

    def extents(self, start: int = 0, length: int | None = None) -> Iterator[MapRange]:
        """Where the content of the window lies, as `map` says it."""
        stop = self.size if length is None else min(self.size, start + length)
        return chain.from_iterable(joined(self._ranges(start, stop)))

    def _ranges(self, start: int, stop: int) -> Iterator[Ranges]:
        """The ranges, window by window: between two the image can be read, and who stops early does no harm."""
        window = WINDOW
        known = looks(self._top)
        while start < stop:
            self._open()
            found = list(unjoined(self._top, known, start, min(window, stop - start)))
            start += min(window, stop - start)
            window = window * 2 if sum(map(len, found)) < MANY else max(window // 2, SMALLEST)
            yield from found

    def _pieces(self, start: int, length: int) -> Iterator[Piece]:
        return stretches.pieces(self._top, self._layer, start, length)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The next read starts there."""
        self._open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next read starts."""
        self._open()
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """The buffer's start holds the next bytes of the disk; their number is returned, 0 at its end."""
        self._open()
        length = max(0, min(len(buffer), self.size - self._at))
        if length:
            buffer[:length] = self._content.read(self._at, length)
            self._at += length
        return length

    def pread(self, length: int, offset: int) -> bytes:
        """Bytes at an offset, short at the end of the disk; the position stays."""
        self._open()
        if length < 0 or offset < 0:
            raise ValueError(f"there are no {length} bytes at {offset}")
        length = max(0, min(length, self.size - offset))
        return self._content.read(offset, length) if length else b""

    def write(self, _: object) -> int:
        """Raises io.UnsupportedOperation: a Disk is only for reading."""
        raise io.UnsupportedOperation("write")

    def _open(self) -> None:
        if self.closed:
            raise ValueError("the disk is closed")

    def close(self) -> None:
        """The image is closed."""
        if not self.closed:
            self._content.close()
            self._top.close()
        super().close()


def open(
    path: str,
    *,
    format: str | None = None,
    snapshot: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> Disk:
    """The virtual disk of the image at `path`, open for reading. Raises InstarError.

    `open_options` are those with which its format opens it; what they name as a secret is in settings.keyring.
    """
    return Disk(path, format=format, snapshot=snapshot, open_options=open_options, settings=settings)
