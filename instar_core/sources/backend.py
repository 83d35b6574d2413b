"""What a source plugin is asked for. All offsets and lengths are bytes."""

from __future__ import annotations

import errno

from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Backend:
    """One open source. Plugins derive from it, set what it is, and override what it can do.

    Methods are called from one thread at a time, with ranges inside `size`. They raise OSError or DeviceError, whose
    text users see; after an error they may be called again.
    """

    size: int | None = None
    """Bytes; None where only reading to the end will tell."""
    writable = False
    """Whether it was opened for writing."""
    anywhere = True
    """Whether it can be read at any place; where not, `stream` is read once, from front to back."""
    shown = ""
    """What to call it; empty for the name as it was given."""
    driver = ""
    """What qemu calls the protocol; empty for the name's own."""
    block = 0
    """Bytes that are fetched at once and kept, where asking has a price; 0 to read just what is wanted."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        raise _unsupported("read")

    def stream(self) -> Iterator[bytes]:
        """The whole content in pieces."""
        raise _unsupported("read as a stream")

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """The source holds these bytes there."""
        raise _unsupported("written")

    def zero(self, offset: int, length: int, punch: bool) -> None:
        """The range reads as zeros; with `punch` it may be deallocated. Without this, zeros are written."""
        raise _unsupported("zeroed")

    def flush(self) -> None:
        """All that was written is on stable storage."""

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        """The range from its start on, as far as is known: lengths, and whether there is data or a hole that reads
        as zeros. Covers at least one byte."""
        return ((length, True),)

    def close(self) -> None:
        """The connection has ended. Nothing else is called afterwards."""


def _unsupported(what: str) -> DeviceError:
    return DeviceError(f"the source cannot be {what}", errno=errno.EOPNOTSUPP)
