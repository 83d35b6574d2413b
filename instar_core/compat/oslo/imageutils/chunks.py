"""Reading a file chunk by chunk."""

from __future__ import annotations

import os

from instar_core import device
from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol, Self

    class Readable(Protocol):
        """What can be read from."""

        def read(self, size: int, /) -> bytes:
            """The next bytes, at most `size`; none at the end."""

    class Closable(Protocol):
        """What can be closed."""

        def close(self) -> None:
            """Nothing is held any more."""


class File:
    """A file that is read from its start on. A context manager that closes."""

    def __init__(self, opened: device.Device) -> None:
        self._device = opened
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        data = os.pread(self._device.descriptor, size, self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        """The file is closed."""
        self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def opened(filename: str) -> File:
    """The file, open. Raises OSError, also where it is no regular file and no block device."""
    try:
        return File(device.open_path(os.fspath(filename)))
    except DeviceError as error:
        text = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, text, filename) from error


def chunks(file: Readable, size: int = 512) -> Iterator[bytes]:
    """The file's bytes up to its end, `size` at a time."""
    while chunk := file.read(size):
        yield chunk
