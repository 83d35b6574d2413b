"""What crosses between the host and a worker: plain values and packed records, bounded while they are read.

A frame is one byte that says what it is and a body. Values are tagged; runs and edits are fixed-size records. How
extents are packed is in columns.py.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error

from instar_core import limits
from instar_core.errors import ContractViolation
from instar_core.types import Barrier, Copy, Punch, Put, Reserve, Run, Truncate, Zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from instar_core.types import Edit

REQUEST, RUNS, RUNS_END = b"?", b"r", b"e"
VALUE, EXTENTS, EDITS, WANT, DONE, ERROR = b"V", b"X", b"E", b"N", b".", b"!"

RUN = Struct("<QQBQB")
EDIT = Struct("<BHQQQ")
COUNT = Struct("<I")

_PUT, _COPY, _ZERO, _PUNCH, _RESERVE, _TRUNCATE, _BARRIER = range(7)
_HOW = ("falloc", "full")


def encode(value: Any) -> bytes:
    """The value as tagged bytes. Takes None, bool, int, str, bytes, tuple, list and str-keyed dict."""
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def _encode(value: Any, out: list[bytes]) -> None:
    if value is None:
        out.append(b"N")
    elif value is True:
        out.append(b"T")
    elif value is False:
        out.append(b"F")
    elif isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
        out += (b"i", COUNT.pack(len(raw)), raw)
    elif isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        out += (b"s", COUNT.pack(len(raw)), raw)
    elif isinstance(value, bytes | bytearray | memoryview):
        out += (b"b", COUNT.pack(len(value)), bytes(value))
    elif isinstance(value, list | tuple | frozenset):
        out += (b"l", COUNT.pack(len(value)))
        for item in value:
            _encode(item, out)
    elif isinstance(value, dict):
        out += (b"d", COUNT.pack(len(value)))
        for key, item in value.items():
            _encode(key, out)
            _encode(item, out)
    else:
        raise TypeError(f"{type(value).__name__} does not cross the wire")


def decode(body: bytes) -> Any:
    """The value that `encode` was given; lists come back as tuples. Raises ContractViolation on anything else."""
    reader = _Reader(body)
    try:
        value = reader.value(0)
    except (IndexError, struct_error, UnicodeDecodeError) as error:
        raise ContractViolation("a worker's answer cannot be read") from error
    if reader.at != len(body):
        raise ContractViolation("a worker's answer has bytes left over")
    return value


class _Reader:
    """Reads one value, counting depth and items."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self.items = 0

    def value(self, depth: int) -> Any:
        """The value that stands here."""
        self.items += 1
        if depth > limits.WIRE_DEPTH or self.items > limits.WIRE_ITEMS:
            raise ContractViolation("a worker's answer is too deep or too long")
        tag = self.body[self.at]
        self.at += 1
        if tag == 78:  # N
            return None
        if tag == 84:  # T
            return True
        if tag == 70:  # F
            return False
        (count,) = COUNT.unpack_from(self.body, self.at)
        self.at += COUNT.size
        if tag == 108:  # l
            if count > limits.WIRE_ITEMS:
                raise ContractViolation("a worker's answer is too long")
            return tuple([self.value(depth + 1) for _ in range(count)])
        if tag == 100:  # d
            return self._mapping(count, depth)
        raw = self.body[self.at : self.at + count]
        if len(raw) != count:
            raise ContractViolation("a worker's answer ends too early")
        self.at += count
        if tag == 105:  # i
            if count > 32:
                raise ContractViolation("a worker's answer holds a number of more than 32 bytes")
            return int.from_bytes(raw, "little", signed=True)
        if tag == 115:  # s
            return raw.decode("utf-8", "surrogateescape")
        if tag == 98:  # b
            return raw
        raise ContractViolation("a worker's answer has a tag that does not exist")

    def _mapping(self, count: int, depth: int) -> dict[str, Any]:
        if count > limits.WIRE_ITEMS:
            raise ContractViolation("a worker's answer is too long")
        made = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise ContractViolation("a worker's answer has a key that is not text")
            made[key] = self.value(depth + 1)
        return made


def pack_runs(runs: Iterable[Run]) -> bytes:
    """Runs as records."""
    return b"".join([RUN.pack(*run) for run in runs])


def unpack_runs(body: bytes) -> Iterator[Run]:
    """The runs of a frame."""
    for record in RUN.iter_unpack(body):
        yield Run._make(record)


def pack_edit(edit: Edit) -> bytes:
    """One edit as a record; a Put carries its bytes behind it."""
    if isinstance(edit, Copy):
        return EDIT.pack(_COPY, edit.device, edit.offset, edit.length, edit.start)
    if isinstance(edit, Put):
        return EDIT.pack(_PUT, edit.device, edit.offset, len(edit.data), 0) + edit.data
    if isinstance(edit, Zero):
        return EDIT.pack(_ZERO, edit.device, edit.offset, edit.length, 0)
    if isinstance(edit, Punch):
        return EDIT.pack(_PUNCH, edit.device, edit.offset, edit.length, 0)
    if isinstance(edit, Reserve):
        return EDIT.pack(_RESERVE, edit.device, edit.offset, edit.length, _HOW.index(edit.how))
    if isinstance(edit, Truncate):
        return EDIT.pack(_TRUNCATE, edit.device, edit.size, 0, 0)
    if isinstance(edit, Barrier):
        return EDIT.pack(_BARRIER, 0, 0, 0, 0)
    raise TypeError(f"{type(edit).__name__} is not an edit")


def unpack_edits(body: bytes) -> Iterator[Edit]:
    """The edits of a frame. Raises ContractViolation where their shape is wrong."""
    at = 0
    while at < len(body):
        try:
            tag, device, offset, length, extra = EDIT.unpack_from(body, at)
        except struct_error as error:
            raise ContractViolation("a batch of edits is cut short") from error
        at += EDIT.size
        if tag == _COPY:
            yield Copy(extra, offset, length, device)
        elif tag == _PUT:
            data = body[at : at + length]
            if len(data) != length:
                raise ContractViolation("a batch of edits is cut short")
            at += length
            yield Put(offset, data, device)
        elif tag == _ZERO:
            yield Zero(offset, length, device)
        elif tag == _PUNCH:
            yield Punch(offset, length, device)
        elif tag == _RESERVE and extra < len(_HOW):
            yield Reserve(offset, length, _HOW[extra], device)
        elif tag == _TRUNCATE:
            yield Truncate(offset, device)
        elif tag == _BARRIER:
            yield Barrier()
        else:
            raise ContractViolation("a batch of edits holds something that is no edit")
