"""Who opens a file is seen: inotify(7). Opening a mere place (O_PATH) does not count, for it does nothing."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

ACCESS, MODIFY, OPEN = 0x01, 0x02, 0x20
EVENT = struct.Struct("iIII")


class Watch:
    """Files whose opening, reading and writing is noted. A context manager."""

    def __init__(self, paths: Iterable[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")
        self._names = {
            libc.inotify_add_watch(self._descriptor, os.fsencode(path), ACCESS | MODIFY | OPEN): path.name
            for path in paths
        }

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def touched(self) -> set[str]:
        """Names of the files that something was done to since the last call."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, _, _, length = EVENT.unpack_from(data, at)
                found.add(self._names.get(number, "?"))
                at += EVENT.size + length
