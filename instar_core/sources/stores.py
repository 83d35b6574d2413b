"""Objects of object stores, read through fsspec and what it uses for each of them, where these are installed.

Another store of fsspec's is reached by an entry point of its scheme that leads here, in any distribution.
"""

from __future__ import annotations

import errno
import importlib
import os

from instar_core.errors import DeviceError
from instar_core.sources.backend import Backend
from instar_core.sources.spec import EVERY, SourceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

SPEC = SourceSpec((EVERY,), "instar_core.sources.stores:opened", "Object stores, through fsspec", files=True)

BLOCK: Final = 1 << 20
HERE: Final = frozenset({"file", "local", "memory", "dir", "data", "zip", "tar", "libarchive", "reference", "cached"})
"""File systems of fsspec's that are no stores."""


class Object(Backend):
    """An object that is there."""

    block = BLOCK

    def __init__(self, name: str, file: Any, size: int | None) -> None:
        self.shown = name
        self.size = size
        self.anywhere = size is not None
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        try:
            self._file.seek(offset)
            data: bytes = self._file.read(length)
        except Exception as error:  # a store's library fails in ways of its own
            raise failed(error) from error
        if len(data) != length:
            raise DeviceError(f"the store gave {len(data)} bytes for {length} at {offset}", errno=errno.EIO)
        return data

    def stream(self) -> Iterator[bytes]:
        """The whole object."""
        while True:
            try:
                data = self._file.read(BLOCK)
            except Exception as error:
                raise failed(error) from error
            if not data:
                return
            yield data

    def close(self) -> None:
        """The object is let go."""
        self._file.close()


def opened(name: str, write: bool) -> Object:
    """The object of that name, for reading. Raises DeviceError."""
    if write:
        raise DeviceError("objects of a store can only be read", errno=errno.EROFS)
    scheme = name.partition(":")[0]
    if scheme in HERE or not name.startswith(f"{scheme}://") or "::" in name:
        raise DeviceError("No valid URL specified", errno=errno.EINVAL)
    try:
        fsspec: Any = importlib.import_module("fsspec")
    except ImportError as error:
        text = f"{scheme} is spoken by fsspec, which is not installed: install instar[stores]"
        raise DeviceError(text, errno=errno.ENOSYS) from error
    try:
        system, path = fsspec.core.url_to_fs(name)
        facts = system.info(path)
        if facts.get("type") != "file":
            raise DeviceError("it is no object but a folder", errno=errno.EISDIR)
        file = system.open(path, "rb", cache_type="none")
    except DeviceError:
        raise
    except Exception as error:
        raise failed(error) from error
    size = facts.get("size")
    return Object(name, file, size if isinstance(size, int) and size >= 0 else None)


def failed(error: Exception) -> DeviceError:
    """What a store's library raised, as an error of ours."""
    code = getattr(error, "errno", None) or errno.EIO
    if isinstance(error, FileNotFoundError):
        return DeviceError("the store has no such object", errno=errno.ENOENT)
    if isinstance(error, PermissionError):
        return DeviceError(f"the store refuses: {error}", errno=errno.EACCES)
    if isinstance(error, ImportError):
        return DeviceError(f"the store's own library is missing: {error}", errno=errno.ENOSYS)
    if isinstance(error, OSError) and error.errno:
        return DeviceError(f"the store failed: {os.strerror(error.errno)}", errno=code)
    return DeviceError(f"the store failed: {type(error).__name__}: {error}", errno=code)
