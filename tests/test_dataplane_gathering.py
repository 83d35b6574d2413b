"""Small writes that are gathered, and results of workers that come over together, are the same as one by one."""

from __future__ import annotations

import errno
import os
import random

import pytest

from instar_core.dataplane import gathering
from instar_core.dataplane.allocating import Allocating
from instar_core.dataplane.coding import ENCODE, CodecPool
from instar_core.dataplane.decoding import Decoding
from instar_core.dataplane.gathering import Gathering
from instar_core.errors import DeviceError, FormatError
from instar_core.piece import Piece
from instar_core.types import Coding

UNIT = 64 << 10
CODING = Coding("zlib", UNIT)


@pytest.mark.parametrize("seed", range(4))
def test_writes_end_up_as_if_each_had_been_done_alone(files, seed):
    rng = random.Random(seed)
    targets = [files(), files()]
    expected = [bytearray(), bytearray()]
    work = Gathering(Allocating(fresh=True))
    at = 0
    for _ in range(1500):
        which = rng.random() < 0.1
        at = at if rng.random() < 0.9 else rng.randrange(1 << 20)
        data = rng.randbytes(rng.choice([1, 12, 700, 5000]))
        work.write(targets[which], data, at, 0)
        disk = expected[which]
        disk.extend(bytes(max(0, at + len(data) - len(disk))))
        disk[at : at + len(data)] = data
        at += len(data)
    work.settle()
    work.settle()
    for target, disk in zip(targets, expected, strict=True):
        assert os.pread(target, 1 << 24, 0) == disk


def test_neighbours_are_written_by_one_call_and_no_more_than_a_bound_of_them_waits(files, monkeypatch):
    calls = []
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda *words: calls.append(len(words[1])) or real(*words))
    work, target = Gathering(Allocating(fresh=True)), files()
    for number in range(3 * gathering.PARTS):
        work.write(target, b"12345678", number * 8, 0)
    assert calls == [gathering.PARTS] * 2
    large = bytes(gathering.MOST // 2 + 1)
    for number in range(4):
        work.write(target, large, number * len(large), 0)
    work.settle()
    assert calls == [gathering.PARTS] * 3 + [2, 2]


def test_a_write_cut_short_is_completed_and_one_that_fails_is_told(files, monkeypatch):
    target = files()
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda into, parts, at: real(into, [b"".join(parts)[:5]], at))
    work = Gathering(Allocating(fresh=True))
    work.write(target, b"abcd", 0, 0)
    work.write(target, b"efgh", 4, 4)
    work.settle()
    assert os.pread(target, 100, 0) == b"abcdefgh"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwritev", full)
    monkeypatch.setattr(os, "pwrite", full)
    work.write(target, b"abcd", 8, 4096)
    work.write(target, b"efgh", 12, 4100)
    with pytest.raises(DeviceError, match="error while writing at byte 4096: No space left on device"):
        work.settle()
    work.settle()


@pytest.fixture
def pieces(files):
    """Units of a disk, each encoded by itself, the last of them shorter than a unit, with their content."""
    rng = random.Random(9)
    contents = [bytes([rng.randrange(256)]) * 3000 + rng.randbytes(rng.randrange(4000)) for _ in range(60)]
    contents = [(content * 32)[:UNIT] for content in contents[:-1]] + [contents[-1]]
    made, target, at = [], files(), 0
    with CodecPool("inline") as pool:
        for index, content in enumerate(contents):
            job = pool.job(ENCODE, CODING, must=True)
            assert job.add(memoryview(content), len(content), 2 * UNIT)
            job.submit()
            (stored,) = job.results()
            job.release()
            os.pwrite(target, stored, at)
            made.append(Piece(index * UNIT, len(content), False, target, at, len(stored), CODING))
            at += len(stored)
    return made, contents


@pytest.mark.parametrize("seed", range(4))
def test_whole_units_come_over_together_and_parts_of_them_one_by_one(pieces, seed):
    made, contents = pieces
    rng = random.Random(seed)
    with CodecPool("inline", workers=2) as pool:
        decoding = Decoding(pool)
        plans = []
        at = 0
        while at < len(made):
            count = rng.randrange(1, 20)
            parts, expected = [], b""
            for piece, content in zip(made[at : at + count], contents[at : at + count], strict=True):
                places = [(0, len(content))]
                if rng.random() < 0.3:  # cut in two, and sometimes only the second part wanted
                    middle = rng.randrange(1, len(content))
                    places = [(0, middle), (middle, len(content))][rng.randrange(2) :]
                for first, last in places:
                    gap = rng.choice([0, 0, 0, 100])
                    expected += bytes(gap) + content[first:last]
                    cut = piece._replace(start=piece.start + first, length=last - first, skip=first)
                    parts += decoding.announce(len(expected) - (last - first), cut)
            plans.append((parts, expected))
            decoding.feed()
            at += count
        for parts, expected in plans:
            room = bytearray(len(expected))
            decoding.take_all(parts, memoryview(room))
            assert room == expected
        decoding.close()
        assert all(worker.idle for workers in pool._workers.values() for worker in workers)


def test_a_corrupt_unit_among_others_is_told_by_its_place(pieces):
    made, _ = pieces
    os.pwrite(made[20].descriptor, b"\xff" * 30, made[20].offset)
    with CodecPool("inline", workers=1) as pool:
        decoding = Decoding(pool)
        parts = [part for piece in made for part in decoding.announce(piece.start, piece)]
        with pytest.raises(FormatError, match=f"error while reading at byte {made[20].start}: "):
            decoding.take_all(parts, memoryview(bytearray(len(made) * UNIT)))
        decoding.close()
        assert all(worker.idle for workers in pool._workers.values() for worker in workers)
