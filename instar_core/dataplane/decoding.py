"""Stored pieces on their way through the codec workers, ahead of the buffers that want them."""

from __future__ import annotations

from instar_core.dataplane.coding import DECODE
from instar_core.dataplane.sectors import sectors
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.dataplane.coding import CodecPool, Job
    from instar_core.piece import Piece
    from instar_core.types import Coding

CHUNK = 256 << 10
"""Content of a coding by sectors that goes to a worker as one piece."""


class Want:
    """Something to be decoded: one whole unit, or some sectors."""

    __slots__ = ("coding", "index", "job", "number", "offset", "piece", "room", "stored", "users")

    def __init__(self, piece: Piece, coding: Coding, offset: int, stored: int, room: int, number: int = 0) -> None:
        self.piece = piece
        self.coding = coding
        self.offset = offset
        self.stored = stored
        self.room = room
        self.number = number
        self.users = 0
        self.job: Job | None = None
        self.index = 0


Part = tuple[int, int, int, Want]
"""(place in the buffer, length, where that starts in what the want decodes to, the want)"""


class Decoding:
    """Pieces announced in order are decoded ahead; `result` must be asked for in the same order."""

    def __init__(self, pool: CodecPool) -> None:
        self._pool = pool
        self._queue: list[Want] = []
        self._at = 0
        self._open: Job | None = None
        self._flight: dict[int, tuple[Job, int]] = {}
        self._last: Want | None = None
        self._coding: object = None

    def announce(self, place: int, piece: Piece) -> list[Part]:
        """The parts that the piece is made of; they are queued for the workers."""
        coding = piece.coding
        if coding is None:
            raise ValueError(f"the piece at {piece.start} is not coded")
        if coding.whole:
            last = self._last
            key = piece.descriptor, piece.offset, piece.stored
            if (
                last
                and last.users
                and last.coding is coding
                and key == (last.piece.descriptor, last.offset, last.stored)
            ):
                last.users += 1
                return [(place, piece.length, piece.skip, last)]
            want = Want(piece, coding, piece.offset, piece.stored, coding.unit)
            return [self._add(place, piece.length, piece.skip, want)]
        return self._sectors(place, piece, coding)

    def _sectors(self, place: int, piece: Piece, coding: Coding) -> list[Part]:
        """The same where the coding works by sectors: they are counted from `first`, wherever the piece begins."""
        count = sectors(coding)
        first = piece.offset if count.by_offset else piece.start - piece.origin
        if piece.offset < first % count.unit:
            raise FormatError("the first sector of the disk does not lie in the file", offset=piece.offset)
        parts = []
        at, end = first, first + piece.length
        while at < end:
            stop = min(end, at - at % CHUNK + CHUNK)
            skip = at % count.unit
            length = -(-stop // count.unit) * count.unit - (at - skip)
            want = Want(piece, coding, piece.offset + at - first - skip, length, length, count.number(at))
            parts.append(self._add(place + at - first, stop - at, skip, want))
            at = stop
        return parts

    def _add(self, place: int, length: int, skip: int, want: Want) -> Part:
        want.users = 1
        self._queue.append(want)
        self._last = want
        return place, length, skip, want

    def feed(self) -> bool:
        """As much as the workers can hold is with them; whether there is more. Raises DeviceError."""
        while self._at < len(self._queue):
            want = self._queue[self._at]
            coding = want.coding
            if self._open is not None and self._coding is not coding:
                self._submit()
            if self._open is None:
                self._open = self._pool.job(DECODE, coding, must=not self._flight)
                self._coding = coding
                if self._open is None:
                    return True
            piece = want.piece
            if not self._open.read(
                piece.descriptor, want.offset, want.stored, want.room, limit=piece.limit, number=want.number
            ):
                if not self._open.count:
                    raise FormatError(
                        "a stored piece is longer than any unit", kind=ErrorKind.LIMIT, offset=want.offset
                    )
                self._submit()
                continue
            want.job, want.index = self._open, self._open.count - 1
            job, users = self._flight.get(id(self._open), (self._open, 0))
            self._flight[id(job)] = job, users + 1
            self._at += 1
        if self._at > 4096:
            del self._queue[: self._at]
            self._at = 0
        self._submit()
        return False

    def _submit(self) -> None:
        if self._open is not None:
            job, self._open = self._open, None
            job.submit()

    def take_all(self, parts: list[Part], view: memoryview) -> None:
        """The places of all parts in the view hold their content, and nobody looks at the parts any more.

        Neighbours in the view that are neighbours in a worker's memory come over at once. Raises FormatError where one
        does not decode.
        """
        at = 0
        while at < len(parts):
            place, _, _, want = parts[at]
            job = self._job(want)
            count = self._neighbours(parts, at, job)
            if not count:
                self.take(parts[at], view)
                self.done(parts[at])
                at += 1
                continue
            start, length, _, _ = parts[at + count - 1]
            view[place : start + length] = job.filled(want.index, start + length - place)
            for part in parts[at : at + count]:
                part[3].users = 0
            self._less(job, count)
            at += count

    @staticmethod
    def _neighbours(parts: list[Part], first: int, job: Job) -> int:
        """How many parts from this one on are whole results of the job that lie behind one another."""
        if not job.full:
            return 0
        place, index = parts[first][0], parts[first][3].index
        for at in range(first, len(parts)):
            start, length, skip, want = parts[at]
            alone = want.users == 1 and not skip and length == want.room
            if not alone or want.job is not job or want.index != index + at - first or start != place:
                return at - first
            place += length
        return len(parts) - first

    def take(self, part: Part, view: memoryview) -> memoryview:
        """The part's place in the view holds its content; all that its want decodes to, valid until `done`.

        Raises FormatError where it does not decode.
        """
        place, length, skip, want = part
        content = self._result(want, self._job(want))
        if skip + length > len(content):
            raise FormatError(
                f"error while reading at byte {want.piece.start}: compressed data is too short",
                kind=ErrorKind.CORRUPT,
                offset=want.offset,
            )
        view[place : place + length] = content[skip : skip + length]
        return content

    def done(self, part: Part) -> None:
        """The part is not looked at any more; its job is released with the last one in it."""
        want = part[3]
        want.users -= 1
        if not want.users and want.job is not None:
            self._less(want.job, 1)

    def _less(self, job: Job, count: int) -> None:
        """So many wants of the job are done."""
        _, users = self._flight[id(job)]
        if users > count:
            self._flight[id(job)] = job, users - count
        else:
            del self._flight[id(job)]
            job.release()

    def _job(self, want: Want) -> Job:
        """The job of the want, with its worker."""
        while want.job is None:
            if self.feed() and want.job is None:
                raise RuntimeError("decoded pieces were not taken in the order of their announcement")
        if want.job is self._open:
            self._submit()
        return want.job

    @staticmethod
    def _result(want: Want, job: Job) -> memoryview:
        job.wait()
        if job.failure and job.failure[0] <= want.index:
            error = job.failure[1]
            if not isinstance(error, FormatError):
                raise error
            raise FormatError(
                f"error while reading at byte {want.piece.start}: {error}", kind=error.kind, offset=want.offset
            )
        return job.result(want.index)

    def close(self) -> None:
        """No job is left in flight, whatever became of it."""
        self._queue.clear()
        if self._open is not None:
            job, self._open = self._open, None
            self._flight.pop(id(job), None)
            job.release()
        for job, _ in list(self._flight.values()):
            job.abandon()
        self._flight.clear()
