"""Which files a booting guest may read: those below a few directories, and a few by name."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
LOADER_CACHE = "/etc/ld.so.cache"


class AllowList:
    """Directories whose files may be read, and what was read of them."""

    def __init__(self, directories: Iterable[str], files: Iterable[str] = ()) -> None:
        real = {os.path.realpath(directory) for directory in directories if directory}
        self.directories = tuple(sorted(directory for directory in real if os.path.isdir(directory)))
        self.files = frozenset(os.path.realpath(file) for file in files)
        self.opened: dict[str, tuple[int, int, int]] = {}
        """Files that were opened, each with its size, time of change in nanoseconds, and inode."""

    def resolve(self, path: str) -> str | None:
        """The real path of an existing file or directory that may be seen, else None."""
        if not path.startswith("/"):
            return None
        real = os.path.realpath(path)
        if real in self.files or any(real == top or real.startswith(top + "/") for top in self.directories):
            return real if os.path.exists(real) else None
        return None

    def open(self, path: str) -> int | None:
        """A descriptor of a regular file or directory that may be read, else None."""
        real = self.resolve(path)
        if real is None:
            return None
        try:
            descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            self.opened[real] = identity(found)
        elif not stat.S_ISDIR(found.st_mode):
            os.close(descriptor)
            return None
        return descriptor


def identity(found: os.stat_result) -> tuple[int, int, int]:
    """What tells one state of a file from another."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def mapped_directories() -> set[str]:
    """Where the files lie that this very process has mapped: its shared libraries among them."""
    found = set()
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")
            if path[1] and not line.endswith("(deleted)\n"):
                found.add(os.path.dirname("/" + path[2]))
    found.discard("/")
    return found
