"""Filling an image: what a writer is offered, what it may do with it, and what the targets hold in the end."""

from __future__ import annotations

import errno
import os
import random
import resource
import zlib

import pytest

from instar_core.dataplane import refine
from instar_core.dataplane.coding import CodecPool
from instar_core.dataplane.fill import fill
from instar_core.errors import Cancelled, ContractViolation, DeviceError, ErrorKind, FormatError
from instar_core.piece import Piece
from instar_core.types import Barrier, Coding, Copy, Geometry, Kind, Put, Run, Truncate, Zero

KIB, MIB = 1 << 10, 1 << 20
DEFLATE = Coding("deflate-12", 64 * KIB)


def noise(seed, length):
    return random.Random(seed).randbytes(length)


def deflated(content):
    engine = zlib.compressobj(6, zlib.DEFLATED, -12)
    return engine.compress(content) + engine.flush()


class Writer:
    """Places every run at its own place (as raw does), and remembers what it was offered."""

    def __init__(self):
        self.runs = []
        self.batches = []

    def converse(self, runs):
        self.batches.append(len(runs))
        self.runs += runs
        return [Copy(run.start, run.start, run.length) for run in runs]

    def finish(self):
        return [Barrier()]


class Packer(Writer):
    """Places every run behind the one before (as qcow2 does), late, and in pieces of its own choice."""

    def __init__(self, seed=0):
        super().__init__()
        self.random = random.Random(seed)
        self.end = 0
        self.waiting = []
        self.table = []

    def converse(self, runs):
        edits = [self.place(run) for run in self.waiting]
        self.waiting = []
        for run in runs:
            self.runs.append(run)
            if run.kind == Kind.ZERO:
                self.table.append((run, None))
            elif self.random.random() < 0.3:
                self.waiting.append(run)
            else:
                edits.append(self.place(run))
        return [edit for parts in edits for edit in parts]

    def place(self, run):
        length = run.stored or run.length
        offset, self.end = self.end, self.end + length
        self.table.append((run, offset))
        if run.coding or length < 4096 or self.random.random() < 0.5:
            return [Copy(run.start, offset, length)]
        cut = self.random.randrange(1, length)
        return [Copy(run.start + cut, offset + cut, length - cut), Copy(run.start, offset, cut)]

    def finish(self):
        return [*self.converse([]), Truncate(self.end), Barrier()]

    def content(self, target, size, unit):
        disk = bytearray(size)
        for run, offset in self.table:
            if offset is None:
                continue
            stored = os.pread(target, run.stored or run.length, offset)
            if run.coding:
                stored = zlib.decompressobj(-15).decompress(stored)
                assert len(stored) == unit, "an encoded unit is a whole one"
            disk[run.start : run.start + run.length] = stored[: run.length]
        return bytes(disk)


def run_raw(pieces, size, target, unit=64 * KIB, **options):
    writer = Writer()
    os.ftruncate(target, size)
    fill(iter(pieces), Geometry(unit, size), writer.converse, writer.finish, [target], durable=False, **options)
    return writer


def random_disk(seed, files, size):
    """Pieces of every kind that cover `size` bytes, and what they read as."""
    rng = random.Random(seed)
    disk = bytearray()
    stored = bytearray()
    plain = bytearray()
    shapes = []
    while len(disk) < size:
        start = len(disk)
        kind = rng.choice(["zero", "plain", "plain", "coded", "coded", "hole"])
        length = min(rng.choice([512, 4096, 10 * 512, 64 * KIB, 300 * KIB]), size - start)
        if kind == "zero":
            disk += bytes(length)
            shapes.append(("zero", start, length, 0, 0, 0))
        elif kind == "coded":
            unit = rng.choice([rng.randbytes(64 * KIB), bytes(64 * KIB), b"text" * 16 * KIB])
            at = len(stored)
            data = deflated(unit) + rng.randbytes(rng.randrange(600))
            stored += data
            skip = rng.choice([0, 512 * rng.randrange(128)])
            length = min(64 * KIB - skip, size - start)
            half = length // 2 // 512 * 512
            for first, part in ((0, half), (half, length - half)):
                if part:
                    shapes.append(("coded", start + first, part, at, len(data), skip + first))
            disk += unit[skip : skip + length]
        else:
            at = len(plain)
            content = rng.randbytes(length) if kind == "plain" else bytes(length)
            if kind == "plain" and length > 8192:
                content = content[:4096] + bytes(length - 8192) + content[-4096:]
            plain += content
            disk += content
            shapes.append(("plain", start, length, at, 0, 0))
    limit = len(plain) - min(rng.randrange(2000), len(plain) // 2)
    data = files()
    coded = files(bytes(stored))
    for at in range(0, limit, 4096):  # a sparse file
        part = bytes(plain[at : min(at + 4096, limit)])
        if part.count(0) != len(part):
            os.pwrite(data, part, at)
    os.ftruncate(data, limit)
    pieces = []
    for kind, start, length, at, size_stored, skip in shapes:
        if kind == "zero":
            pieces.append(Piece(start, length, True))
        elif kind == "coded":
            pieces.append(Piece(start, length, False, coded, at, size_stored, DEFLATE, skip))
        else:
            pieces.append(Piece(start, length, False, data, at, limit=limit or 1))
            gone = max(0, at + length - limit)
            if gone:
                first = max(0, length - gone)
                disk[start + first : start + length] = bytes(length - first)
    return pieces, bytes(disk)


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_of_pieces_arrives_as_it_reads(files, seed):
    size = 3 * MIB + 512 * seed
    pieces, disk = random_disk(seed, files, size)
    for unit, options in (
        (64 * KIB, {}),
        (512, {"sparse": 512}),
        (4096, {"sparse": 64 * KIB, "threads": False}),
        (2 * MIB, {"sparse": 0}),
        (64 * KIB, {"copy_range": True}),
        (64 * KIB, {"fresh": False}),
    ):
        target = files(b"\xff" * size if options.get("sparse") == 0 else b"")
        run_raw(pieces, size, target, unit, **options)
        got = os.pread(target, size + 1, 0)
        assert got == disk, (unit, options, next(i for i in range(size) if got[i] != disk[i]))


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_may_place_content_late_and_in_pieces_and_encoded(files, seed):
    size = 3 * MIB + 512 * 7
    pieces, disk = random_disk(seed, files, size)
    for coding in (None, DEFLATE):
        for sparse in (4096, 0):
            target = files()
            packer = Packer(seed)
            geometry = Geometry(64 * KIB, size, zeros=bool(seed & 1), coding=coding, coding_required=seed == 2)
            fill(iter(pieces), geometry, packer.converse, packer.finish, [target], sparse=sparse, durable=False)
            assert packer.content(target, size, 64 * KIB) == disk
            ends = {run.start + run.length for run in packer.runs if (run.start + run.length) % (64 * KIB)}
            assert ends <= {size}
            assert all(run.start % (64 * KIB) == 0 for run in packer.runs)
            if seed == 2 and coding:
                assert all(run.coding for run in packer.runs if run.kind == Kind.DATA)
            if sparse == 0:
                assert sum(run.length for run in packer.runs) == size


def test_units_that_do_not_shrink_go_out_as_they_are(files):
    source = files(noise(1, 64 * KIB) + b"a" * 64 * KIB)
    packer = Packer()
    geometry = Geometry(64 * KIB, 128 * KIB, coding=DEFLATE)
    target = files()
    fill(iter([Piece(0, 128 * KIB, False, source)]), geometry, packer.converse, packer.finish, [target])
    assert [(run.start, run.coding) for run in packer.runs] == [(0, 0), (64 * KIB, 1)]
    assert 0 < packer.runs[1].stored < 1000


def test_zero_units_are_left_out_or_offered_as_the_writer_wishes(files):
    content = b"a" * 512 + bytes(64 * KIB - 512) + bytes(128 * KIB) + b"b" * 64 * KIB
    source = files(content)
    pieces = [Piece(0, len(content), False, source), Piece(len(content), MIB, True)]
    size = len(content) + MIB
    for geometry, options, expected in (
        (Geometry(64 * KIB, size), {}, [(0, 64, 0), (192, 64, 0)]),
        (Geometry(64 * KIB, size, zeros=True), {}, [(0, 64, 0), (64, 128, 1), (192, 64, 0), (256, 1024, 1)]),
        (Geometry(64 * KIB, size, full=True), {}, [(0, 1280, 0)]),
        (Geometry(64 * KIB, size), {"sparse": 0}, [(0, 1280, 0)]),
    ):
        packer = Packer()
        fill(iter(pieces), geometry, packer.converse, packer.finish, [files()], **options)
        assert [(run.start // KIB, run.length // KIB, run.kind) for run in packer.runs] == expected


def test_what_no_piece_is_given_for_is_not_offered(files):
    source = files(b"x" * 64 * KIB)
    pieces = [Piece(64 * KIB, 64 * KIB, False, source), Piece(256 * KIB, 64 * KIB, True)]
    packer = Packer()
    fill(iter(pieces), Geometry(64 * KIB, MIB, zeros=True), packer.converse, packer.finish, [files()])
    assert [(run.start // KIB, run.length // KIB, run.kind) for run in packer.runs] == [(64, 64, 0), (256, 64, 1)]


@pytest.mark.parametrize("sparse", [0, 4096])
def test_a_short_last_unit_that_no_piece_is_given_for_is_not_offered(files, sparse):
    # Over a backing image it would hide what lies below.
    source, target, writer = files(noise(3, 64 * KIB)), files(), Writer()
    pieces = iter([Piece(0, 64 * KIB, False, source, 0)])
    geometry = Geometry(64 * KIB, 150 * KIB, zeros=True)
    fill(pieces, geometry, writer.converse, writer.finish, [target], sparse=sparse, sandbox="inline")
    assert [(run.start, run.length) for run in writer.runs] == [(0, 64 * KIB)]


def test_an_empty_disk_has_only_the_last_edits(files):
    target = files()
    fill(iter(()), Geometry(64 * KIB, MIB), None, lambda: [Put(3, b"end"), Barrier()], [target])
    assert os.pread(target, 100, 0) == b"\0\0\0end"


def test_zeros_inside_a_unit_stay_holes_of_a_fresh_target(files):
    content = noise(2, 4096) + bytes(MIB - 8192) + noise(3, 4096)
    source = files(content)
    target = files()
    run_raw([Piece(0, MIB, False, source)], MIB, target, MIB)
    assert os.pread(target, MIB, 0) == content
    assert os.fstat(target).st_blocks * 512 <= 64 * KIB
    allocated = files()
    run_raw([Piece(0, MIB, False, source)], MIB, allocated, MIB, sparse=0)
    assert os.fstat(allocated).st_blocks * 512 >= MIB


def test_holes_of_the_source_are_not_read(files, monkeypatch):
    source = files(b"a", size=1 << 40)
    os.pwrite(source, b"z", (1 << 40) - 1)
    target = files()
    writer = run_raw([Piece(0, 1 << 40, False, source)], 1 << 40, target)
    assert [run.start for run in writer.runs] == [0, (1 << 40) - 64 * KIB]
    assert os.pread(target, 1, (1 << 40) - 1) == b"z"


def bad(*edits, runs=1):
    def converse(_):
        return edits

    return converse, lambda: []


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ([], "never placed"),
        ([Copy(0, 0, 64 * KIB), Copy(0, 0, 64 * KIB)], "not on offer"),
        ([Copy(0, 0, 128 * KIB)], "not on offer"),
        ([Copy(512, 0, 64 * KIB)], "not on offer"),
        ([Copy(0, 0, 32 * KIB)], "never placed"),
        ([Copy(0, -1, 64 * KIB)], "no file has"),
        ([Copy(0, 1 << 63, 64 * KIB)], "no file has"),
        ([Copy(0, 0, 64 * KIB, 1)], "device 1"),
        ([Put(-5, b"x")], "no file has"),
        ([Zero(0, -1)], "no file has"),
        ([Truncate(1 << 64)], "no file has"),
        (["edit"], "not an edit"),
    ],
)
def test_a_writer_that_breaks_the_contract_is_refused(files, edits, why):
    source = files(noise(4, 64 * KIB))
    converse, finish = bad(*edits)
    with pytest.raises(ContractViolation, match=why):
        fill(iter([Piece(0, 64 * KIB, False, source)]), Geometry(64 * KIB, MIB), converse, finish, [files()])


def test_a_writer_cannot_keep_everything_in_memory(files):
    source = files(size=0)
    for at in range(0, 100 * MIB, MIB):
        os.pwrite(source, b"x" * MIB, at)
    with pytest.raises(ContractViolation, match="unplaced"):
        fill(iter([Piece(0, 100 * MIB, False, source)]), Geometry(MIB, 100 * MIB), lambda _: [], lambda: [], [files()])


def test_encoded_pieces_are_placed_whole_or_not_at_all(files):
    source = files(b"a" * 64 * KIB)
    with pytest.raises(ContractViolation, match="encoded piece"):
        fill(
            iter([Piece(0, 64 * KIB, False, source)]),
            Geometry(64 * KIB, 64 * KIB, coding=DEFLATE),
            lambda runs: [Copy(runs[0].start, 0, runs[0].stored - 1)],
            lambda: [],
            [files()],
        )


@pytest.mark.parametrize("geometry", [Geometry(0, MIB), Geometry(1 << 40, MIB), Geometry(3000, MIB, coding=DEFLATE)])
def test_units_that_make_no_sense_are_refused(files, geometry):
    with pytest.raises(ContractViolation, match="units"):
        fill(iter(()), geometry, lambda _: [], lambda: [], [files()])


def test_pieces_that_overlap_are_refused(files):
    with pytest.raises(ContractViolation, match="does not follow"):
        list(refine.covering(iter([Piece(0, 100, True), Piece(50, 100, True)]), 0, 1000))


def test_a_full_disk_is_reported_with_its_reason(files):
    source = files(noise(5, 4 * MIB))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    target = files()
    os.ftruncate(target, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        writer = Writer()
        with pytest.raises(DeviceError, match="error while writing at byte 1048576: File too large") as caught:
            fill(
                iter([Piece(0, 4 * MIB, False, source)]),
                Geometry(64 * KIB, 4 * MIB),
                writer.converse,
                writer.finish,
                [target],
            )
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_no_space_left_keeps_its_words(files):
    source = files(noise(5, MIB))
    full = os.open("/dev/full", os.O_RDWR)
    writer = Writer()
    try:
        with pytest.raises(DeviceError, match="No space left on device") as caught:
            fill(iter([Piece(0, MIB, False, source)]), Geometry(MIB, MIB), writer.converse, writer.finish, [full])
        assert caught.value.errno == errno.ENOSPC
    finally:
        os.close(full)


def test_a_corrupt_piece_is_the_images_fault_and_says_where(files):
    good = deflated(noise(6, 64 * KIB))
    source = files(good + b"\xff" * 4096)
    pieces = [
        Piece(0, 64 * KIB, False, source, 0, len(good), DEFLATE),
        Piece(64 * KIB, 64 * KIB, False, source, len(good), 4096, DEFLATE),
    ]
    with pytest.raises(FormatError, match="error while reading at byte 65536: compressed data is corrupt") as caught:
        run_raw(pieces, 128 * KIB, files())
    assert caught.value.kind == ErrorKind.CORRUPT
    assert caught.value.offset == len(good)


def test_a_pool_works_on_after_an_error(files):
    good = deflated(noise(6, 64 * KIB))
    source = files(b"\xff" * 4096 + good)
    with CodecPool("process") as pool:
        for _ in range(8):
            with pytest.raises(FormatError):
                run_raw([Piece(0, 64 * KIB, False, source, 0, 4096, DEFLATE)] * 1, 64 * KIB, files(), pool=pool)
            target = files()
            run_raw([Piece(0, 64 * KIB, False, source, 4096, len(good), DEFLATE)], 64 * KIB, target, pool=pool)
            assert os.pread(target, 64 * KIB, 0) == noise(6, 64 * KIB)


def test_a_wish_to_stop_is_heard(files):
    source = files(noise(7, MIB) * 40)
    seen = []
    with pytest.raises(Cancelled):
        run_raw(
            [Piece(0, 40 * MIB, False, source)],
            40 * MIB,
            files(),
            cancelled=lambda: len(seen) > 4,
            progress=seen.append,
        )
    assert 4 < len(seen) < 12


def test_progress_ascends_to_the_size(files):
    source = files(noise(7, MIB) * 40)
    seen = []
    run_raw([Piece(0, 40 * MIB, False, source)], 40 * MIB, files(), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 40 * MIB
    assert len(seen) > 5


def test_an_error_while_reading_ahead_is_raised_and_leaves_no_thread(files):
    import threading

    source = files(noise(8, MIB) * 40)

    def pieces():
        yield Piece(0, 40 * MIB, False, source)
        raise FormatError("the map broke")

    before = threading.active_count()
    with pytest.raises(FormatError, match="the map broke"):
        run_raw(pieces(), 100 * MIB, files())
    assert threading.active_count() == before


def test_sectors_that_cannot_be_read_are_salvaged_as_zeros(files, monkeypatch):
    from instar_core.dataplane import loading

    content = noise(9, 64 * KIB)
    source = files(content)
    read = loading.read_into

    def broken(descriptor, view, offset, **rest):
        if descriptor == source and offset <= 5000 < offset + len(view):
            raise DeviceError("bad sector", errno=errno.EIO)
        read(descriptor, view, offset, **rest)

    monkeypatch.setattr(loading, "read_into", broken)
    lost = []
    target = files()
    run_raw([Piece(0, 64 * KIB, False, source)], 64 * KIB, target, salvage=lambda place, why: lost.append((place, why)))
    assert lost == [(4608, "bad sector")]
    assert os.pread(target, 64 * KIB, 0) == content[:4608] + bytes(512) + content[5120:]


def test_a_file_that_ends_early_is_an_error(files):
    source = files(b"x" * 1000)
    os.pwrite(source, b"y" * 4096, 0)
    with pytest.raises(DeviceError, match="error while reading at byte"), WithoutHoles(source):
        run_raw([Piece(0, MIB, False, source)], MIB, files())


class WithoutHoles:
    """A file that tells no holes, so that its end is only found when it is read."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def __enter__(self):
        self.lseek = os.lseek

        def lseek(descriptor, *rest):
            if descriptor == self.descriptor:
                raise OSError(errno.EINVAL, "no holes told")
            return self.lseek(descriptor, *rest)

        os.lseek = lseek

    def __exit__(self, *_):
        os.lseek = self.lseek


def test_the_rate_is_kept(files):
    import time

    source = files(noise(10, MIB))
    start = time.monotonic()
    run_raw([Piece(0, MIB, False, source)], MIB, files(), rate=4 * MIB)
    assert time.monotonic() - start > 0.14


def test_memory_stays_bounded_whatever_the_size(files):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = files()
    for at in range(0, 300 * MIB, MIB):
        os.pwrite(source, b"x" * MIB, at)
    packer = Packer()
    fill(
        iter([Piece(0, 300 * MIB, False, source)]),
        Geometry(64 * KIB, 300 * MIB),
        packer.converse,
        packer.finish,
        [files()],
        durable=False,
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60 * KIB, f"{grown} KiB more"


def test_direct_writes_hold_the_same(files):
    size = MIB + 512 * 3
    pieces, disk = random_disk(11, files, size)
    target = files()
    run_raw(pieces, size, target, direct=True)
    assert os.pread(target, size, 0) == disk


def test_runs_are_the_contracts_own(files):
    source = files(noise(12, MIB))
    writer = run_raw([Piece(0, MIB, False, source)], MIB, files())
    assert writer.runs == [Run(0, MIB)]
