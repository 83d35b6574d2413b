"""Work that needs the descriptors of a worker: done in a child of its own, fed and drained by the test's process."""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from instar_sandbox.frames import LAST
from instar_sandbox.jail import descriptors

PIPE_SIZE = 1031
"""F_SETPIPE_SZ"""


class Stream:
    """Frames in what a child sends, counted in another way than the code under test does."""

    def __init__(self) -> None:
        self.total = 0
        self._head = b""
        self._skip = 0

    def add(self, piece: bytes) -> None:
        self.total += len(piece)
        at = min(self._skip, len(piece))
        self._skip -= at
        if self._skip:
            return
        piece, self._head = self._head + piece[at:], b""
        at = 0
        while at < len(piece):
            if at + 4 > len(piece):
                self._head = piece[at:]
                return
            at += 4 + int.from_bytes(piece[at : at + 4], "little") % LAST
        self._skip = at - len(piece)

    @property
    def torn(self) -> bool:
        return bool(self._skip or self._head)


def work(deed: Callable[..., Any], files: Sequence[int], *arguments: Any, seconds: float, seed: int = 0) -> Any:
    """(what the deed returned, the Stream it wrote). It runs in a child with the numbers of a worker's descriptors.

    The child's channel is fed with random bytes of the seed for as long as it lives. Its files are FIRST and on.
    """
    theirs_in, ours_out = os.pipe2(os.O_CLOEXEC)
    ours_in, theirs_out = os.pipe2(os.O_CLOEXEC)
    told, tells = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(theirs_out, PIPE_SIZE, 1 << 20)
    pid = os.fork()
    if pid == 0:
        _child(deed, arguments, theirs_in, theirs_out, files, tells)
    for descriptor in (theirs_in, theirs_out, tells):
        os.close(descriptor)
    stream, report = Stream(), b""
    try:
        report = _pump(ours_out, ours_in, told, stream, seed, time.monotonic() + seconds)
    finally:
        for descriptor in (ours_out, ours_in, told):
            os.close(descriptor)
        if not report:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert report, f"the child ended with status {status:#x} and said nothing, or ran longer than {seconds} s"
    good, result = pickle.loads(report)
    assert good, result
    return result, stream


def _child(deed, arguments, theirs_in, theirs_out, files, tells) -> None:
    try:
        *_, high = descriptors.renumber(theirs_in, theirs_out, [*files, tells])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            report = True, deed(*arguments)
        except BaseException:
            report = False, traceback.format_exc()
        content = memoryview(pickle.dumps(report))
        while content:
            content = content[os.write(high, content) :]
    finally:
        os._exit(0)


def _pump(ours_out, ours_in, told, stream, seed, deadline) -> bytes:
    chance, report = random.Random(seed), b""
    pool = chance.randbytes(1 << 16)
    os.set_blocking(ours_out, False)
    writing = [ours_out]
    reading = [ours_in, told]
    while reading:
        left = deadline - time.monotonic()
        if left <= 0:
            return b""
        ready, room, _ = select.select(reading, writing, [], left)
        if room:
            start = chance.randrange(len(pool))
            try:
                os.write(ours_out, pool[start:])
            except BrokenPipeError:
                writing = []
        for descriptor in ready:
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                reading.remove(descriptor)
            elif descriptor == told:
                report += piece
            else:
                stream.add(piece)
    return report
