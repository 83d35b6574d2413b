"""Pieces of a stream that are kept as they pass. Nobody looks into them here. Offsets and lengths are bytes."""

from __future__ import annotations

NEVER = 1 << 64


class CaptureRegion:
    """`length` bytes at `offset` of the stream; with `min_length` that many are enough for it to be complete.

    A region that is asked for when its first byte has passed stays as it is: it never holds bytes of another place.
    """

    def __init__(self, offset: int, length: int, min_length: int | None = None) -> None:
        self.offset = offset
        self.length = length
        self.data: bytes | bytearray = b""
        self.min_length = min_length
        self.open_ended = False
        """Whether it is whole too when the stream ends within it."""

    @property
    def full(self) -> bool:
        """Whether it holds all that it ever will."""
        return len(self.data) >= self.length

    @property
    def next_wish(self) -> int:
        """Where the first byte stands that it does not hold yet; NEVER where it wants none."""
        return NEVER if self.full else self.offset + len(self.data)

    @property
    def complete(self) -> bool:
        """Whether it holds what it is for."""
        if self.min_length is not None:
            return len(self.data) >= self.min_length
        return len(self.data) == self.length

    def capture(self, chunk: bytes, current_position: int) -> bytes:
        """The bytes of the chunk that belong here are kept. `current_position` is that of the chunk's end."""
        skip = self.offset + len(self.data) - (current_position - len(chunk))
        if 0 <= skip < len(chunk) and not self.full:
            if not isinstance(self.data, bytearray):
                self.data = bytearray(self.data)
            self.data += memoryview(chunk)[skip : skip + self.length - len(self.data)]
        return b""


class EndCaptureRegion(CaptureRegion):
    """The last `offset` bytes of the stream. It is complete when the stream is known to have ended."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, offset)
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether the stream has ended."""
        return self._ended

    @property
    def next_wish(self) -> int:
        """0: it wants every byte, for each might be of the last."""
        return 0

    @property
    def complete(self) -> bool:
        """Whether the stream has ended and was long enough."""
        return self._ended and super().complete

    def capture(self, chunk: bytes, current_position: int) -> bytes:
        """The last bytes up to the chunk's end are kept."""
        if len(chunk) >= self.length:
            self.data = bytes(chunk[len(chunk) - self.length :])
        else:
            self.data = bytes(self.data[max(0, len(self.data) + len(chunk) - self.length) :]) + bytes(chunk)
        self.offset = current_position - len(self.data)
        return b""

    def finish(self) -> None:
        """The stream has ended."""
        self._ended = True


class PassedRegion(CaptureRegion):
    """A region that was asked for too late: what lies before the place where the wish was read is not kept any more,
    whatever the size of the chunks."""

    @property
    def next_wish(self) -> int:
        """NEVER."""
        return NEVER

    def capture(self, chunk: bytes, current_position: int) -> bytes:
        """Nothing is kept."""
        return b""
