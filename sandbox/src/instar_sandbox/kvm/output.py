"""What a guest sends, on its way to the host: frames are counted, so that last words never stand inside one."""

from __future__ import annotations

import os

from instar_sandbox.frames import LAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.frames import Buffer


class Output:
    """The worker's end of the pipe to the host."""

    __slots__ = ("_descriptor", "_head", "_left")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._head = b""
        self._left = 0

    def write(self, content: memoryview) -> int:
        """So many of the bytes are with the host."""
        done = os.write(self._descriptor, content)
        at = 0
        while at < done:
            if self._left:
                step = min(self._left, done - at)
                self._left -= step
                at += step
                continue
            step = min(4 - len(self._head), done - at)
            self._head += bytes(content[at : at + step])
            at += step
            if len(self._head) == 4:
                self._left = int.from_bytes(self._head, "little") & ~LAST
                self._head = b""
        return done

    @property
    def torn(self) -> bool:
        """The guest began a frame that it did not finish."""
        return bool(self._left or self._head)

    def last_words(self, words: Buffer) -> None:
        """The host knows why the guest ended, unless a frame stands unfinished."""
        if not self.torn:
            os.write(self._descriptor, (len(words) | LAST).to_bytes(4, "little") + bytes(words))
