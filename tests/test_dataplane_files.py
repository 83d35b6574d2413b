"""Holes, zeros, copies and the kernel's requests on real files."""

from __future__ import annotations

import errno
import itertools
import os
import random
import subprocess

import pytest

from instar_core.dataplane import ioctls, sparse
from instar_core.dataplane.apply import apply
from instar_core.dataplane.buffers import Buffers
from instar_core.dataplane.copy import copy, pump, share
from instar_core.dataplane.edits import execute
from instar_core.dataplane.positional import clear, read_into, write_from
from instar_core.errors import Cancelled, ContractViolation, DeviceError
from instar_core.types import Barrier, Copy, Punch, Put, Reserve, Truncate, Zero

KIB, MIB = 1 << 10, 1 << 20


def naive_ranges(data, block, phase):
    """data_ranges, one block after the other."""
    found = []
    at = 0
    while at < len(data):
        step = min(block - (at + phase) % block, len(data) - at)
        if any(data[at : at + step]):
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + step)
            else:
                found.append((at, step))
        at += step
    return found


@pytest.mark.parametrize("seed", range(40))
def test_data_ranges_are_those_of_a_search_block_by_block(seed):
    rng = random.Random(seed)
    data = bytearray(rng.randrange(1, 300 * KIB))
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data))
        length = min(len(data) - at, rng.choice([1, 100, 5000, 80 * KIB]))
        data[at : at + length] = b"x" * length
    start = rng.randrange(5000)
    buffer = bytearray(rng.randbytes(start)) + data + bytearray(rng.randbytes(100))
    block = rng.choice([512, 4096])
    phase = rng.choice([0, 512, 1000, 5120])
    expected = [(start + at, length) for at, length in naive_ranges(data, block, phase)]
    assert sparse.data_ranges(buffer, start, len(data), block, phase) == expected
    wide = sparse.data_ranges(buffer, start, len(data), 64 * KIB, phase)
    fine = sparse.data_ranges(buffer, start, len(data), 4096, phase)
    assert wide == sparse.joined(fine, 64 * KIB)
    assert all(b[0] - sum(a) >= 64 * KIB for a, b in itertools.pairwise(wide))


def test_one_byte_in_the_last_place_is_found():
    for length in (1, 511, 4096, 4097, 65536, MIB + 1):
        data = bytearray(length)
        assert sparse.data_ranges(data, 0, length) == []
        assert sparse.is_zero(data, 0, length)
        data[-1] = 1
        assert not sparse.is_zero(data, 0, length)
        last = (length - 1) // 4096 * 4096
        assert sparse.data_ranges(data, 0, length) == [(last, length - last)]


def test_ranges_widen_to_units_and_join():
    assert sparse.rounded([(5, 1), (18, 1), (31, 1)], 0, 10, 35) == [(0, 20), (30, 5)]
    assert sparse.rounded([(15, 1)], 5, 10, 100) == [(15, 10)]
    assert sparse.within([(0, 10), (20, 10), (40, 5)], 5, 20) == [(5, 5), (20, 5)]


def test_the_holes_of_a_file_are_told_and_cover_the_range(files):
    target = files(size=MIB)
    os.pwrite(target, b"x" * 4096, 256 * KIB)
    os.pwrite(target, b"x" * 4096, 512 * KIB)
    found = list(sparse.file_extents(target, 0, 2 * MIB))
    assert found[0] == (0, 256 * KIB, False)
    assert [(at, length) for at, length, data in found if data] == [(256 * KIB, 4096), (512 * KIB, 4096)]
    assert sum(length for _, length, _ in found) == 2 * MIB
    assert found[-1] == (516 * KIB, 2 * MIB - 516 * KIB, False)
    joined = list(sparse.file_extents(target, 0, 2 * MIB, MIB))
    assert joined == [(0, 516 * KIB, True), (516 * KIB, 2 * MIB - 516 * KIB, False)]
    assert list(sparse.file_extents(target, 257 * KIB, 1024)) == [(257 * KIB, 1024, True)]
    assert list(sparse.file_extents(target, 5 * MIB, 10)) == [(5 * MIB, 10, False)]
    assert list(sparse.file_extents(target, 0, 0)) == []


def holed(files):
    """A file of 4 MiB, of which every 16 KiB are data or a hole, at random."""
    target = files(size=4 * MIB)
    for at in range(0, 4 * MIB, 16 * KIB):
        if random.Random(at).random() < 0.5:
            os.pwrite(target, b"x" * 16 * KIB, at)
    return target


def test_what_a_file_said_of_its_holes_goes_for_every_range_in_them(files):
    target = holed(files)
    stretches = sparse.Stretches()
    chance = random.Random(3)
    for _ in range(3000):
        start, length = chance.randrange(5 * MIB), chance.choice((1, 512, 4 * KIB, 16 * KIB, 64 * KIB, MIB))
        told = {data for _, _, data in sparse.file_extents(target, start, length)}
        assert stretches.data(target, start, length) == (told.pop() if len(told) == 1 else None)


def test_of_files_in_order_or_in_disorder_each_stretch_is_asked_about_only_a_few_times(files, monkeypatch):
    target, other = files(size=4 * MIB), holed(files)
    os.pwrite(target, b"x" * MIB, MIB)
    stretches = sparse.Stretches()
    asked = []
    seek = os.lseek
    monkeypatch.setattr(os, "lseek", lambda *how: asked.append(how) or seek(*how))
    places = list(range(2 * MIB, 4 * MIB, 4 * KIB)) + list(range(MIB, 2 * MIB, 4 * KIB))
    for at in places:
        assert stretches.data(target, at, 4 * KIB) == (at < 2 * MIB)
        assert stretches.data(other, 5 * MIB, KIB) is False
    assert len(asked) == 4
    random.Random(3).shuffle(places)
    for at in places:
        assert stretches.data(target, at, 4 * KIB) == (at < 2 * MIB)
    assert len(asked) == 4


def test_a_file_that_tells_no_holes_is_all_data():
    ends = os.pipe()
    try:
        assert list(sparse.file_extents(ends[0], 100, 50)) == [(100, 50, True)]
        assert sparse.Stretches().data(ends[0], 100, 50) is True
    finally:
        os.close(ends[0])
        os.close(ends[1])


def test_a_copy_by_the_kernel_or_by_hand_is_the_same(files):
    content = random.Random(1).randbytes(3 * MIB) + bytes(MIB) + b"end"
    source = files(content)
    steps = []
    one, two, three = files(), files(), files()
    copy(source, 5, one, 7, len(content) - 5, advance=steps.append)
    assert os.pread(one, len(content) + 10, 0) == bytes(7) + content[5:]
    assert sum(steps) == len(content) - 5
    pump(source, 0, two, 0, len(content) + 5000, limit=len(content))
    os.ftruncate(two, len(content) + 5000)
    assert os.pread(two, len(content) + 9000, 0) == content + bytes(5000)
    assert os.fstat(two).st_blocks < os.fstat(source).st_blocks
    pump(source, 0, three, 0, len(content), sparse=0)
    assert os.pread(three, len(content), 0) == content


def test_a_copy_goes_on_by_hand_where_the_kernel_cannot(files, monkeypatch):
    content = random.Random(2).randbytes(MIB)
    source, target = files(content), files()

    def refuse(*_):
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    copy(source, 0, target, 0, MIB)
    assert os.pread(target, MIB, 0) == content


def test_sharing_moves_nothing_or_says_that_it_cannot(files):
    content = random.Random(3).randbytes(MIB)
    source, target = files(content), files()
    shared = share(source, 0, target, 0, MIB)
    assert os.pread(target, MIB, 0) == (content if shared else b"")


def test_a_range_past_the_limit_reads_as_zeros_and_past_the_file_is_an_error(files):
    source = files(b"abcdef")
    view = memoryview(bytearray(b"x" * 10))
    read_into(source, view, 2, limit=5)
    assert bytes(view) == b"cde" + bytes(7)
    read_into(source, view, 20, limit=5)
    assert bytes(view) == bytes(10)
    with pytest.raises(DeviceError, match="error while reading at byte 1006: Input/output error"):
        read_into(source, view, 0, place=1000)


def test_errors_name_the_place_and_the_reason():
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(DeviceError, match="error while writing at byte 7: Bad file descriptor") as caught:
            write_from(descriptor, memoryview(b"x"), 7)
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(descriptor)


def test_buffers_begin_with_a_page_and_come_back():
    import ctypes

    stock = Buffers(64 * KIB)
    buffer = stock.take()
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer.view)) % 4096 == 0
    assert len(buffer.view) == 64 * KIB
    stock.give(buffer)
    assert stock.take() is buffer


def test_clearing_clears_all_of_it():
    data = bytearray(b"x" * (3 * MIB + 5))
    clear(memoryview(data)[1:-1])
    assert data == b"x" + bytes(3 * MIB + 3) + b"x"


def test_unaligned_requests_to_a_direct_file_work(tmp_path):
    path = tmp_path / "direct"
    path.write_bytes(b"a" * 10000)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no direct access")
    try:
        write_from(descriptor, memoryview(b"xyz"), 5)
        view = memoryview(bytearray(20))
        read_into(descriptor, view, 1)
        assert bytes(view) == b"aaaaxyz" + b"a" * 13
        assert os.O_DIRECT & __import__("fcntl").fcntl(descriptor, 3)
    finally:
        os.close(descriptor)


def test_zeroing_allocates_and_punching_frees(files):
    target = files(b"x" * MIB)
    execute(Zero(100, 200 * KIB), [target])
    assert os.pread(target, MIB, 0) == b"x" * 100 + bytes(200 * KIB) + b"x" * (MIB - 200 * KIB - 100)
    before = os.fstat(target).st_blocks
    execute(Punch(256 * KIB, 512 * KIB), [target])
    assert os.pread(target, 512 * KIB, 256 * KIB) == bytes(512 * KIB)
    assert os.fstat(target).st_size == MIB
    assert os.fstat(target).st_blocks < before
    execute(Punch(MIB - 10, MIB), [target])
    assert os.fstat(target).st_size == MIB
    execute(Punch(5 * MIB, MIB), [target])
    execute(Zero(2 * MIB, 4096), [target])
    assert os.fstat(target).st_size == 2 * MIB + 4096


def test_zeroing_and_punching_write_zeros_where_the_file_system_cannot(files, monkeypatch):
    monkeypatch.setattr(ioctls, "punch", lambda *_: False)
    monkeypatch.setattr(ioctls, "zero_range", lambda *_: False)
    target = files(b"x" * 3 * MIB)
    execute(Zero(5, 2 * MIB), [target])
    execute(Punch(2 * MIB + 100, 50), [target])
    expected = bytearray(b"x" * 3 * MIB)
    expected[5 : 5 + 2 * MIB] = bytes(2 * MIB)
    expected[2 * MIB + 100 : 2 * MIB + 150] = bytes(50)
    assert os.pread(target, 3 * MIB, 0) == expected


def test_reserving_allocates_without_touching_content(files):
    target = files(b"keep")
    execute(Reserve(0, MIB), [target])
    assert os.fstat(target).st_size == MIB
    assert os.fstat(target).st_blocks * 512 >= MIB
    assert os.pread(target, 8, 0) == b"keep" + bytes(4)
    full = files()
    execute(Reserve(0, MIB, "full"), [full])
    assert os.fstat(full).st_blocks * 512 >= MIB
    assert list(sparse.file_extents(full, 0, MIB)) == [(0, MIB, True)]


def test_a_plan_is_executed_in_order_and_flushed_at_each_barrier_and_at_its_end(files):
    target = files(b"old")
    log = []

    def barrier(targets):
        log.append(os.pread(targets[0], 3, 0))

    count = apply([Put(0, b"new"), Barrier(), Put(0, b"End"), Truncate(10)], [target], barrier=barrier)
    assert (count, log) == (4, [b"new", b"End"])
    assert os.fstat(target).st_size == 10
    log.clear()
    apply([Put(0, b"Fin"), Barrier()], [target], barrier=barrier)
    apply([], [target], barrier=barrier)
    assert log == [b"Fin"]


def test_a_barrier_with_nothing_before_it_flushes_only_what_the_caller_wrote_earlier(files):
    target = files(b"old")
    log = []

    def barrier(targets):
        log.append(os.pread(targets[0], 3, 0))

    plan = [Barrier(), Put(0, b"new"), Barrier(), Barrier()]
    assert apply(plan, [target], barrier=barrier) == 4
    assert log == [b"new"]
    apply(plan, [files(b"old")], barrier=barrier, settled=False)
    assert log == [b"new", b"old", b"new"]


def test_a_plan_in_place_may_not_copy_and_stops_only_between_phases(files):
    target = files(b"old")
    with pytest.raises(ContractViolation, match="no content to copy"):
        apply([Copy(0, 0, 5)], [target])
    with pytest.raises(ContractViolation, match="device 3"):
        apply([Put(0, b"x", 3)], [target])
    with pytest.raises(Cancelled):
        apply([Put(0, b"one"), Put(3, b"two"), Barrier(), Put(0, b"no!")], [target], cancelled=lambda: True)
    assert os.pread(target, 10, 0) == b"onetwo"


def test_unknown_requests_are_answered_with_no(files):
    target = files(b"x" * 4096)
    assert ioctls.discard(target, 0, 4096) is False
    assert ioctls.zero_out(target, 0, 4096) is False
    assert os.pread(target, 4096, 0) == b"x" * 4096
    assert ioctls.set_nocow(target) in (True, False)
    assert ioctls.set_extent_size_hint(files(), MIB) in (True, False)
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        ioctls.device_size(target)


def loop_device(path):
    made = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=False)
    return made.stdout.strip() if made.returncode == 0 else None


def test_block_devices_have_their_size_and_take_every_edit(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(b"x" * MIB)
    device = loop_device(path) if os.geteuid() == 0 else None
    if device is None:
        pytest.skip("no loop device can be made here")
    descriptor = os.open(device, os.O_RDWR)
    try:
        assert ioctls.device_size(descriptor) == MIB
        assert ioctls.sector_size(descriptor) in (512, 4096)
        execute(Zero(4096, 4096), [descriptor])
        execute(Zero(100, 100), [descriptor])
        execute(Punch(16384, 8192), [descriptor])
        execute(Reserve(0, MIB), [descriptor])
        execute(Truncate(MIB), [descriptor])
        with pytest.raises(DeviceError, match="Cannot grow device files"):
            execute(Truncate(MIB + 512), [descriptor])
        expected = bytearray(b"x" * MIB)
        for at, length in ((4096, 4096), (100, 100), (16384, 8192)):
            expected[at : at + length] = bytes(length)
        assert os.pread(descriptor, MIB, 0) == expected
        ioctls.discard(descriptor, 0, 4096)
    finally:
        os.close(descriptor)
        subprocess.run(["losetup", "--detach", device], check=True)
