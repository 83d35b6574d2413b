"""A source gives bounded, positional reads and finds arithmetic runs in tables."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.source import Source, bytes_source, descriptor_source


def test_reads_equal_the_bytes_at_every_place(tmp_path: Path) -> None:
    random_ = random.Random(2)
    data = random_.randbytes(limits.PAGE * 3 + 123)
    file = tmp_path / "file"
    file.write_bytes(data)
    with file.open("rb") as opened:
        source = descriptor_source(opened.fileno(), len(data))
        for _ in range(500):
            offset = random_.randrange(len(data))
            length = random_.randrange(min(len(data) - offset, limits.PAGE * 2 + 9) + 1)
            assert source.read(offset, length) == data[offset : offset + length]


def test_reading_past_the_end_is_an_error_or_zeros_where_asked_for() -> None:
    source = bytes_source(b"abc")
    with pytest.raises(FormatError) as caught:
        source.read(1, 5)
    assert caught.value.kind == ErrorKind.TRUNCATED
    assert source.read(1, 5, pad=True) == b"bc\0\0\0"
    assert source.read(10, 2, pad=True) == b"\0\0"


def test_a_read_of_a_hostile_length_is_refused_before_memory_is_taken() -> None:
    for offset, length in ((0, 1 << 62), (-1, 5), (0, -1)):
        with pytest.raises(FormatError) as caught:
            bytes_source(b"abc").read(offset, length, pad=True)
        assert caught.value.kind == ErrorKind.LIMIT


def reader(data: bytes, asked: list[int], most: int = 1 << 30) -> Source:
    """A source over the data that notes how many pages each read wants, and never gets more than `most` bytes."""

    def pread(length: int, offset: int) -> bytes:
        asked.append(length // limits.PAGE)
        return data[offset : offset + min(length, most)]

    return Source(pread, len(data))


def test_small_reads_that_go_forward_take_more_and_more_at_once() -> None:
    data = random.Random(5).randbytes(40 * limits.PAGE)
    asked: list[int] = []
    source = reader(data, asked)
    for offset in range(0, len(data), 30_000):
        assert source.read(offset, 12) == data[offset : offset + 12]
    assert asked == [1, 2, 4, 8, 16, 9]


def test_small_reads_that_jump_take_a_page_each() -> None:
    data = random.Random(5).randbytes(40 * limits.PAGE)
    asked: list[int] = []
    source = reader(data, asked)
    for page in (7, 3, 20, 11, 39):
        assert source.read(page * limits.PAGE + 5, 12) == data[page * limits.PAGE + 5 :][:12]
    assert asked == [1, 1, 1, 1, 1]


def test_reading_ahead_stops_where_there_is_less_and_loses_nothing() -> None:
    data = random.Random(5).randbytes(40 * limits.PAGE + 100)
    for most in (1000, limits.PAGE, limits.PAGE + 1, 3 * limits.PAGE - 1, 5 * limits.PAGE):
        source = reader(data, [], most)
        for offset in range(0, len(data) - 12, 50_000):
            assert source.read(offset, 12) == data[offset : offset + 12], (most, offset)
        assert source.read(len(data) - 12, 12) == data[-12:]


def test_a_page_can_be_read_where_those_behind_it_are_gone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(random.Random(5).randbytes(8 * limits.PAGE))
    with file.open("r+b") as opened:
        source = descriptor_source(opened.fileno(), 8 * limits.PAGE)
        source.read(0, 12)
        os.truncate(file, 2 * limits.PAGE)
        assert source.read(limits.PAGE, 12) == os.pread(opened.fileno(), 12, limits.PAGE)
        with pytest.raises(FormatError, match="shorter"):
            source.read(2 * limits.PAGE, 12)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1000))
    with file.open("r+b") as opened:
        source = descriptor_source(opened.fileno(), 1000)
        os.truncate(file, 10)
        with pytest.raises(FormatError, match="shorter"):
            source.read(0, 1000)


def test_tables_are_swapped_to_numbers() -> None:
    values = [random.Random(3).randrange(1 << 64) for _ in range(3000)]
    for count in (5, 3000):
        assert list(bytes_source(struct.pack(">3000Q", *values)).table(8, 0, count)) == values[:count]
        assert list(bytes_source(struct.pack("<3000Q", *values)).table(8, 0, count, big=False)) == values[:count]


@pytest.mark.parametrize("width,code", [(4, "I"), (8, "Q")])
@pytest.mark.parametrize("big", [True, False])
def test_runs_cover_a_table_exactly(width: int, code: str, big: bool) -> None:
    random_ = random.Random(4)
    stride = 512
    for _ in range(60):
        values: list[int] = []
        while len(values) < random_.choice([1, 5, 700, 5000]):
            count, first = random_.randrange(1, 600), random_.randrange(1 << 20) * stride
            shape = random_.random()
            if shape < 0.4:
                values += [first + index * stride for index in range(count)]
            elif shape < 0.6:
                values += [0] * count
            else:
                values += [random_.randrange(1 << 31) for _ in range(count % 9 + 1)]
        data = struct.pack(f"{'>' if big else '<'}{len(values)}{code}", *values)
        got: list[int] = []
        for index, count, first, step in bytes_source(data).runs(0, len(values), width, stride, big=big):
            assert index == len(got)
            assert step in (0, stride)
            got += [first + step * number for number in range(count)]
        assert got == values


def test_runs_are_as_long_as_they_can_be_and_ignore_masked_bits() -> None:
    flag = 1 << 63
    values = [(flag if index % 3 else 0) | index * 65536 for index in range(8192)]
    source = bytes_source(struct.pack(">8192Q", *values))
    assert list(source.runs(0, 8192, 8, 65536, mask=flag - 1)) == [(0, 8192, 0, 65536)]


def test_runs_of_sixteen_byte_entries() -> None:
    entries = b"".join(struct.pack(">QQ", index * 65536, 0xFFFFFFFF) for index in range(1000))
    assert list(bytes_source(entries).runs(0, 1000, 16, 65536 << 64)) == [(0, 1000, 0xFFFFFFFF, 65536 << 64)]
