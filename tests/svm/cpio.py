"""Archives in the "newc" format of cpio, as the kernel unpacks them into its first file system."""

from __future__ import annotations

from typing import BinaryIO

FOLDER, FILE, LINK = 0o040000, 0o100000, 0o120000
MAGIC = b"070701"
LARGEST = 0xFFFFFFFF


class Archive:
    """An archive that is written to `out`. Everything in it belongs to root and can be read by everybody."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self.size = 0

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder. Those above it must have been written before."""
        self._entry(path, FOLDER | mode, b"", 0)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._entry(path, LINK | 0o777, target.encode(), 0)

    def file(self, path: str, data: bytes, executable: bool = False, mtime: int = 0) -> None:
        """A regular file. `mtime` is in seconds."""
        self._entry(path, FILE | (0o755 if executable else 0o644), data, mtime)

    def close(self) -> None:
        """The archive ends here. `out` stays open."""
        self._inode = -1
        self._entry("TRAILER!!!", 0, b"", 0)
        self._write(b"\0" * (-self.size % 512))

    def _entry(self, path: str, mode: int, data: bytes, mtime: int) -> None:
        if len(data) > LARGEST:
            raise ValueError(f"{path} is too large for the format")
        self._inode += 1
        name = path.lstrip("/").encode() + b"\0"
        numbers = (self._inode, mode, 1, 0, 0, mtime & LARGEST, len(data), 0, 0, 0, 0, len(name), 0)
        self._write(MAGIC + b"".join(b"%08X" % number for number in numbers) + name)
        self._write(b"\0" * (-self.size % 4))
        self._write(data)
        self._write(b"\0" * (-self.size % 4))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)
