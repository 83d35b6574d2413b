"""Codec workers: what crosses is a table, what comes back is checked, and nobody waits for ever."""

from __future__ import annotations

import os
import random
import zlib

import instar_sandbox
import pytest

from instar_core import limits, wire
from instar_core.dataplane import coding as coding_module
from instar_core.dataplane.coding import DECODE, ENCODE, CodecPool
from instar_core.dataplane.compare import compare
from instar_core.dataplane.content import Content
from instar_core.errors import ContractViolation, FormatError, NotInstalled, SandboxError
from instar_core.piece import Piece
from instar_core.types import Coding
from instar_core.worker import codec

KIB, MIB = 1 << 10, 1 << 20
UNIT = 64 * KIB


def deflated(content):
    engine = zlib.compressobj(6, zlib.DEFLATED, -12)
    return engine.compress(content) + engine.flush()


def coded_disk(files, seed, units, coding):
    rng = random.Random(seed)
    disk, stored, pieces = b"", b"", []
    descriptor = files()
    for index in range(units):
        content = rng.randbytes(100) * 656
        content = content[:UNIT]
        data = deflated(content)
        pieces.append(Piece(index * UNIT, UNIT, False, descriptor, len(stored), len(data), coding))
        stored += data + bytes(rng.randrange(3) * 3000)
        disk += content
    os.pwrite(descriptor, stored, 0)
    return pieces, disk


@pytest.mark.parametrize("platform", ["process", "inline"])
def test_content_is_read_at_any_place(files, platform):
    coding = Coding("deflate-12", UNIT)
    pieces, disk = coded_disk(files, 1, 40, coding)
    plain = files(b"plain" * 1000)
    pieces.append(Piece(len(disk), 5000, False, plain))
    pieces.append(Piece(len(disk) + 5000, 9000, True))
    disk += b"plain" * 1000 + bytes(9000)

    def window(start, length):
        for piece in pieces:
            first, last = max(start, piece.start), min(start + length, piece.start + piece.length)
            if first < last:
                by = first - piece.start
                if piece.coding:
                    yield piece._replace(start=first, length=last - first, skip=piece.skip + by)
                else:
                    yield piece._replace(start=first, length=last - first, offset=piece.offset + by)

    content = Content(window, sandbox=platform)
    try:
        rng = random.Random(3)
        for _ in range(200):
            start = rng.randrange(len(disk))
            length = min(rng.choice([1, 512, 5000, 200 * KIB]), len(disk) - start)
            assert content.read(start, length) == disk[start : start + length]
        assert content.read(len(disk), 10) == bytes(10)
        joined = bytearray()
        for block in content.blocks(256 * KIB, 100, len(disk)):
            assert block.start == 100 + len(joined)
            joined += bytes(block.length) if block.zero else block.memory.data[block.at : block.at + block.length]
        assert joined == disk[100:]
    finally:
        content.close()


def test_encoding_and_decoding_are_each_others_inverse():
    coding = Coding("deflate-12", UNIT)
    contents = [random.Random(index).randbytes(50) * 1310 for index in range(20)]
    with CodecPool("process", workers=2) as pool:
        job = pool.job(ENCODE, coding)
        for index in range(14):
            assert job.add(memoryview(contents[index]), UNIT, UNIT)
        while job.add(memoryview(contents[19]), UNIT, UNIT):
            pass
        job.submit()
        job.wait()
        for index in range(14):
            stored = bytes(job.result(index))
            assert zlib.decompressobj(-12).decompress(stored) == contents[index] + bytes(UNIT - len(contents[index]))
        job.release()


def test_sectors_of_a_cipher_are_counted_from_the_start_of_their_own_disk(files, monkeypatch):
    """The worker is a fake that answers with the sector numbers that it was given."""
    seen = []

    class Fake:
        def __init__(self, *_):
            self.answers = []

        def send(self, request):
            entries = list(codec.ENTRY.iter_unpack(request))
            seen.extend((length, number) for _, length, _, _, number in entries)
            self.answers.append(codec.LENGTHS + b"".join(codec.MADE.pack(entry[3]) for entry in entries))

        def receive(self):
            return self.answers.pop(0)

        def close(self):
            pass

    monkeypatch.setattr(instar_sandbox, "start", lambda *_, **__: Fake())
    coding = Coding("cipher", 512, whole=False, params={"key": b"k"})
    source = files(b"x" * MIB)
    piece = Piece(10 * MIB + 700, 300 * KIB, False, source, 4096 + 700, 300 * KIB, coding, origin=10 * MIB)
    content = Content(lambda *_: iter([piece]))
    content.read(piece.start, piece.length)
    content.close()
    assert [number for _, number in seen] == [1, 512]
    assert sum(length for length, _ in seen) % 512 == 0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "cannot be read"),
        (b"+", "cannot be read"),
        (b"+" + b"\0" * 5, "cannot be read"),
        (b"!", "cannot be read"),
        (b"!" + b"\x01\0\0\0" + b"\0\0\0\0", "cannot be read"),
        (b"!" + b"\0\0\0\0" + b"text", "cannot be read"),
        (b"!" + b"\0\0\0\0" + wire.encode(["FormatError", "corrupt", "why"]), "error cannot be read"),
        (b"!" + b"\0\0\0\0" + wire.encode(["FormatError", "corrupt", "why", None]), "error cannot be read"),
        (b"-", "cannot be read"),
        (b"-" + wire.encode(5), "error cannot be read"),
        (b"+" + (UNIT + 1).to_bytes(4, "little"), "more than there is room"),
        (b"?" + b"\0" * 4, "cannot be read"),
    ],
)
def test_a_workers_answer_is_not_believed_unless_it_fits(files, monkeypatch, answer, why):
    class Fake:
        def send(self, request):
            pass

        def receive(self):
            return answer

        def close(self):
            pass

    monkeypatch.setattr(instar_sandbox, "start", lambda *_, **__: Fake())
    source = files(b"x" * 512)
    with CodecPool() as pool:
        job = pool.job(DECODE, Coding("zlib", UNIT))
        assert job.read(source, 0, 512, UNIT)
        job.submit()
        with pytest.raises(ContractViolation, match=why):
            job.wait()


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        (["NotInstalled", "missing", "no\nlibrary", "get it"], NotInstalled, "no?library"),
        (["ContractViolation", "contract", "w" * 9000, ""], ContractViolation, "w" * limits.MESSAGE),
        (["FormatError", "unsupported", "a", ""], FormatError, "a"),
        (["SystemExit", "sandbox", "a", ""], FormatError, "a"),
    ],
)
def test_what_a_worker_says_went_wrong_is_data(files, monkeypatch, told, kind, text):
    class Fake:
        def send(self, request):
            pass

        def receive(self):
            return b"-" + wire.encode(told)

        def close(self):
            pass

    monkeypatch.setattr(instar_sandbox, "start", lambda *_, **__: Fake())
    source = files(b"x" * 512)
    with CodecPool() as pool:
        job = pool.job(DECODE, Coding("zlib", UNIT))
        assert job.read(source, 0, 512, UNIT)
        job.submit()
        with pytest.raises(kind) as caught:
            job.wait()
        assert type(caught.value) is kind
        assert str(caught.value) == text
        assert caught.value.kind == ("corrupt" if told[1] == "sandbox" else told[1])
        job.abandon()


def test_a_worker_that_dies_is_a_sandbox_error(files, monkeypatch):
    class Fake:
        def send(self, request):
            pass

        def receive(self):
            raise instar_sandbox.JailError("the worker crashed", "crash")

        def close(self):
            pass

    monkeypatch.setattr(instar_sandbox, "start", lambda *_, **__: Fake())
    source = files(b"x" * 512)
    with CodecPool() as pool:
        job = pool.job(DECODE, Coding("zlib", UNIT))
        job.read(source, 0, 512, UNIT)
        job.submit()
        with pytest.raises(SandboxError, match="the worker crashed"):
            job.wait()


def test_a_worker_refuses_places_outside_its_arena():
    state = codec.State(lambda *_: 0, memoryview(bytearray(100)))
    good = codec.ENTRY.pack(0, 50, 50, 50, 0)
    for bad in ((0, 101, 0, 0, 0), (0, 0, 60, 41, 0), ((1 << 64) - 1, 2, 0, 0, 0)):
        answer = codec.answer(state, good + codec.ENTRY.pack(*bad))
        assert answer[:5] == codec.FAILURE + codec.FAILED.pack(1)
        assert b"outside the arena" in answer


def test_a_worker_reports_what_failed_and_keeps_what_went_before():
    def code(stored, out, number):
        if number == 2:
            raise RuntimeError("x" * 5000)
        return 7

    state = codec.State(code, memoryview(bytearray(100)))
    answer = codec.answer(state, b"".join(codec.ENTRY.pack(0, 1, 1, 9, number) for number in range(4)))
    assert answer[:5] == codec.FAILURE + codec.FAILED.pack(2)
    assert answer[5:13] == codec.MADE.pack(7) * 2
    assert len(answer) < 600


def test_the_memory_of_a_worker_cannot_be_taken_away_and_is_not_inherited(monkeypatch):
    kept = {}

    class Fake:
        def close(self):
            pass

    def start(platform, program, descriptors, bounds, **_):
        order = wire.decode(program.argument)
        kept["size"] = order["size"]
        with pytest.raises(PermissionError):
            os.ftruncate(descriptors[0], 0)
        return Fake()

    monkeypatch.setattr(instar_sandbox, "start", start)
    with CodecPool() as pool:
        assert pool.job(DECODE, Coding("zlib", UNIT)) is not None
        assert kept["size"] < 8 * MIB
        with open("/proc/self/smaps") as smaps:
            maps = smaps.read()
        arena = maps[maps.index("/memfd:codec") :]
        assert " dc " in arena[arena.index("VmFlags") :].splitlines()[0] + " ", "workers forked later do not see it"


def test_the_number_of_workers_is_bounded_over_all_codings(monkeypatch):
    alive = []

    class Fake:
        def __init__(self):
            alive.append(self)

        def close(self):
            alive.remove(self)

    monkeypatch.setattr(instar_sandbox, "start", lambda *_, **__: Fake())
    with CodecPool() as pool:
        for _ in range(200):
            job = pool.job(DECODE, Coding("zlib", UNIT))
            job.release()
            assert len(alive) <= 2 * coding_module.MOST_WORKERS
    assert not alive


def test_a_stored_piece_longer_than_any_unit_is_refused(files):
    source = files(b"x")
    piece = Piece(0, UNIT, False, source, 0, 64 * MIB, Coding("zlib", UNIT))
    content = Content(lambda *_: iter([piece]))
    try:
        with pytest.raises(FormatError, match="longer than any unit"):
            content.read(0, UNIT)
    finally:
        content.close()


def test_two_disks_are_compared_to_the_sector(files):
    rng = random.Random(5)
    disk = bytearray(rng.randbytes(5 * MIB))
    disk[MIB : 2 * MIB] = bytes(MIB)
    first = files(bytes(disk))
    for at in (None, 0, 511, 512, MIB - 1, MIB, MIB + 700 * KIB, 5 * MIB - 1):
        other = bytearray(disk)
        if at is not None:
            other[at] ^= 1
        second = files(bytes(other))
        one = [Piece(0, MIB, False, first), Piece(MIB, MIB, True), Piece(2 * MIB, 3 * MIB, False, first, 2 * MIB)]
        seen = []
        found = compare(iter(one), iter([Piece(0, 5 * MIB, False, second)]), (5 * MIB, 5 * MIB), progress=seen.append)
        assert found == (None if at is None else at // 512 * 512)
        assert seen == sorted(seen)


def test_a_longer_disk_is_the_same_if_it_ends_in_zeros(files):
    disk = files(b"a" * MIB + bytes(MIB))
    os.ftruncate(disk, 1 << 40)
    short = [Piece(0, MIB, False, disk)]
    long = Piece(0, 1 << 40, False, disk)
    assert compare(iter(short), iter([long]), (MIB, 1 << 40)) is None
    os.pwrite(disk, b"x", (1 << 40) - 100)
    assert compare(iter([long]), iter(short), (1 << 40, MIB)) == (1 << 40) - 512
    assert compare(iter(()), iter(()), (0, 0)) is None


def test_coded_disks_are_compared_through_one_pool(files):
    coding = Coding("deflate-12", UNIT)
    pieces, disk = coded_disk(files, 7, 80, coding)
    plain = files(disk)
    size = len(disk)
    assert compare(iter(pieces), iter(pieces), (size, size)) is None
    assert compare(iter(pieces), iter([Piece(0, size, False, plain)]), (size, size)) is None
    os.pwrite(plain, b"\xff\xfe\xfd", size - 1000)
    assert compare(iter(pieces), iter([Piece(0, size, False, plain)]), (size, size)) == (size - 1000) // 512 * 512


def test_a_worker_codes_in_place_and_stops_at_the_first_piece_that_fails():
    def code(stored, out, number):
        if number == 3:
            raise RuntimeError("no")
        out[: len(stored)] = bytes(stored)[::-1]
        return len(stored)

    content = bytes(range(64))
    for count in (0, 1, 3, 5):
        arena = memoryview(bytearray(content + bytes(136)))
        request = b"".join(codec.ENTRY.pack(8 * at, 8, 64 + 12 * at, 12, at) for at in range(count))
        answer = codec.answer(codec.State(code, arena), request)
        done = min(count, 3)
        lengths = codec.MADE.pack(8) * done
        failed = codec.FAILURE + codec.FAILED.pack(3) + lengths
        assert answer.startswith(failed) if count > 3 else answer == codec.LENGTHS + lengths
        assert bytes(arena[:64]) == content
        made = [content[8 * at : 8 * at + 8][::-1] + bytes(4) for at in range(done)]
        assert bytes(arena[64:]) == b"".join(made).ljust(136, b"\0")
