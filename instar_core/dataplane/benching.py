"""Many small requests at once against a disk, and how long they take."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right

from instar_core.dataplane.buffers import Buffer
from instar_core.dataplane.positional import read_into, write_from
from instar_core.errors import Cancelled, ContractViolation, DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from instar_core.piece import Piece

THREADS = 64
"""Most threads: with more, they only wait for one another."""

PIECES = 1 << 20
"""Pieces that are remembered: of a disk in more pieces than that, each request asks anew where its content lies."""


class Requests:
    """`count` requests of `size` bytes, the first at `offset`, each `step` further than the one before; where one would
    not end before the end of a disk of `disk` bytes, they begin again."""

    def __init__(self, count: int, size: int, offset: int, step: int, disk: int) -> None:
        self.count = count
        self.size = size
        self.offset = offset
        self.step = step
        self.disk = disk

    def place(self, number: int) -> int:
        """Where the request of this number starts. The first is not brought within the disk."""
        if not number:
            return self.offset
        room = self.disk - self.size
        return (self.offset + number * self.step) % room if room > 0 else 0

    def region(self) -> tuple[int, int]:
        """(start, end) of all that is asked for, within the disk."""
        end = self.offset + (self.count - 1) * self.step + self.size
        return (min(self.offset, self.disk), end) if end < self.disk + (self.count == 1) else (0, self.disk)

    def check(self, place: int) -> None:
        """Raises DeviceError for a request that does not end within the disk."""
        if place + self.size > self.disk:
            raise DeviceError("Failed request: Input/output error", errno=5, offset=place)


class Places:
    """Where a stretch of the disk lies: pieces by their place on it."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        """Raises ContractViolation where there are more than PIECES."""
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        for piece in pieces:
            if len(self._pieces) == PIECES:
                raise ContractViolation(f"the disk is in more than {PIECES} pieces")
            self._starts.append(piece.start)
            self._pieces.append(piece)

    def between(self, start: int, end: int) -> Iterator[Piece]:
        """The pieces of which a part lies there."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._pieces) and self._starts[index] < end:
            yield self._pieces[index]
            index += 1


def reader(places: Places, otherwise: Callable[[int, int], bytes]) -> Callable[[int, memoryview], None]:
    """What reads a request into a view: plain pieces by itself, and one at a time by `otherwise` what is coded."""
    alone = threading.Lock()

    def read(place: int, view: memoryview) -> None:
        end = place + len(view)
        for piece in places.between(place, end):
            start, stop = max(place, piece.start), min(end, piece.start + piece.length)
            part = view[start - place : stop - place]
            if piece.zero:
                continue
            if piece.coding is None:
                read_into(piece.descriptor, part, piece.offset + start - piece.start, limit=piece.limit)
            else:
                with alone:
                    part[:] = otherwise(start, stop - start)

    return read


def writer(places: Places) -> Callable[[int, memoryview], None]:
    """What writes a request to its place; all pieces are plain ones of files that are open for writing."""

    def write(place: int, view: memoryview) -> None:
        end = place + len(view)
        for piece in places.between(place, end):
            start, stop = max(place, piece.start), min(end, piece.start + piece.length)
            part = view[start - place : stop - place]
            write_from(piece.descriptor, part, piece.offset + start - piece.start, place=start)

    return write


class Run:
    """Requests carried out by `depth` threads. With a `flush`, that is called after every `interval` of them; if it is
    to `drain`, when all before it have ended."""

    def __init__(
        self,
        requests: Requests,
        act: Callable[[int, memoryview], None],
        depth: int,
        *,
        pattern: int = 0,
        flush: Callable[[], None] | None = None,
        interval: int = 0,
        drain: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._requests = requests
        self._act = act
        self.threads = min(depth, THREADS, requests.count)
        self._pattern = pattern
        self._flush = flush if interval else None
        self._interval = interval
        self._drain = drain
        self._cancelled = cancelled
        self._next = 0
        self._active = 0
        self._failure: BaseException | None = None
        self._turn = threading.Condition()

    def timed(self) -> float:
        """Seconds that all took. Raises what the first request that failed raised."""
        began = time.perf_counter()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        if self._failure is not None:
            raise self._failure
        return seconds

    def _work(self) -> None:
        buffer = Buffer(self._requests.size)
        view = buffer.view[: self._requests.size]
        view[:] = bytes((self._pattern,)) * len(view)
        try:
            while True:
                number = self._take()
                if number is None:
                    return
                place = self._requests.place(number)
                self._requests.check(place)
                self._act(place, view)
                self._done(number)
        except BaseException as error:  # told to whoever waits, whatever it is
            with self._turn:
                self._failure = self._failure or error
                self._turn.notify_all()

    def _take(self) -> int | None:
        with self._turn:
            while self._drain and self._flush and self._active and self._next and not self._next % self._interval:
                if self._failure:
                    return None
                self._turn.wait(1.0)
            if self._failure or self._next >= self._requests.count:
                return None
            if self._cancelled is not None and self._cancelled():
                raise Cancelled("stopped")
            number = self._next
            self._next += 1
            self._active += 1
            return number

    def _done(self, number: int) -> None:
        flush = self._flush
        if flush is not None and not self._drain and not (number + 1) % self._interval:
            flush()
        with self._turn:
            self._active -= 1
            if flush is not None and self._drain and not self._active and not self._next % self._interval:
                flush()  # nobody starts before it is done
            self._turn.notify_all()
