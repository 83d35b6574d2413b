"""Calls that look as if they could make the host slow or large: what each costs is bounded by the guest's memory."""

import importlib.util
import os
import pathlib
import sys
import time

import pytest
from instar_sandbox.jail.descriptors import FIRST, OUTPUT
from instar_sandbox.kvm import layout, numbers
from instar_sandbox.kvm.errors import GuestEnded
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.output import Output
from instar_sandbox.kvm.sealed import SealedCalls
from instar_sandbox.kvm.space import Space


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens, child, watching = map(load, ("kvm_specimens", "kvm_child", "kvm_watch"))
GIB, MIB, PAGE = 1 << 30, 1 << 20, layout.PAGE
REST = GIB - layout.MAPPINGS
HUGE = (1 << 64) - 1
SLOW = 3.0 * (20 if "INSTAR_SVM_INSIDE" in os.environ else 1)
"""Seconds of processor time that are too many for one call, even on a busy machine."""


class Host:
    """A guest of a GiB, and what its calls cost its host."""

    def __init__(self):
        self.memory = GuestMemory(GIB)
        self.space = Space(self.memory)
        self.calls = SealedCalls(self.memory, self.space, Output(OUTPUT), 1)
        self.before = watching.resident()
        self.slowest = 0.0

    def ask(self, name, *arguments):
        words = [argument & HUGE for argument in arguments]
        began = time.process_time()
        try:
            return self.calls.answer(numbers.NUMBERS[name], (*words, *[0] * (6 - len(words))))
        except GuestEnded as error:
            return error
        finally:
            self.slowest = max(self.slowest, time.process_time() - began)

    def costs(self):
        return self.slowest, watching.resident() - self.before

    def map(self, length):
        return self.ask("mmap", 0, length, 3, 0x22, -1, 0)


def cost(deed, files=()):
    """(seconds of the slowest call, bytes by which the host has grown) of what a deed asks for."""
    (slowest, grown), _ = child.work(lambda: [host := Host(), deed(host)][0].costs(), list(files), seconds=100)
    print(f"slowest {slowest * 1000:.1f} ms, {grown / MIB:.1f} MiB")
    return slowest, grown


def empty_again_and_again(host):
    place = host.map(REST)
    for _ in range(300):
        assert host.ask("madvise", place, REST, 4) == 0
    for _ in range(300):
        assert host.ask("munmap", place, REST) == 0


def heap_up_and_down(host):
    for _ in range(30):
        assert host.ask("brk", layout.HEAP_END) == layout.HEAP_END
        assert host.ask("brk", layout.PROGRAM) == layout.PROGRAM


def ask_for_too_much(host):
    for name in ("mmap", "munmap", "mremap", "madvise", "brk", "getrandom", "read", "write", "pread64"):
        for length in (HUGE, HUGE - PAGE + 1, 1 << 63, 1 << 62, 1 << 47, 1 << 40, GIB, GIB + 1):
            file = {"read": 3, "write": 4}.get(name, FIRST)
            for arguments in (
                (file, layout.MAPPINGS, length),
                (layout.MAPPINGS, length, length),
                (layout.MAPPINGS, length, 4),
            ):
                host.ask(name, *arguments, 0x22)


def name_the_same_memory_many_times(host):
    for length, count in ((MIB, 1024), (REST, 2), (REST // 1024, 1024)):
        host.memory.put(layout.PROGRAM, specimens.words(layout.MAPPINGS, length) * count)
        for name in ("readv", "preadv", "preadv2"):
            host.ask(name, 3 if name == "readv" else FIRST, layout.PROGRAM, count, 0)


def write_nowhere(host):
    for _ in range(100):
        host.ask("write", 1, layout.MAPPINGS, HUGE)


@pytest.mark.parametrize(
    "deed", [empty_again_and_again, heap_up_and_down, ask_for_too_much, name_the_same_memory_many_times, write_nowhere]
)
def test_memory_that_is_not_there_costs_next_to_nothing(tmp_path, deed):
    file = specimens.file_with(tmp_path / "file", b"x" * 10000)
    slowest, grown = cost(deed, [file])
    assert slowest < SLOW
    assert grown < 48 * MIB


def move_a_growing_mapping(host):
    place, size = host.map(PAGE), PAGE
    while True:
        host.map(PAGE)  # behind it, so that it cannot grow where it stands
        new = host.ask("mremap", place, size, 2 * size, 1)
        if new < 0:
            assert size >= 256 * MIB
            return
        assert new > place
        assert host.map(size) == place  # where it was, so that what is mapped next comes behind it
        place, size = new, 2 * size


def test_moving_copies_no_more_than_the_guest_has():
    slowest, grown = cost(move_a_growing_mapping)
    assert slowest < SLOW
    assert grown < GIB + 48 * MIB


def fragment(host):
    """Every second page of a guest is free."""
    assert host.map(REST) == layout.MAPPINGS
    for place in range(layout.MAPPINGS, GIB, 2 * PAGE):
        assert host.ask("munmap", place, PAGE) == 0
    assert len(host.space.free) > 125_000


def take_from_fragments(host):
    fragment(host)
    for _ in range(20):
        assert host.map(2 * PAGE) == -numbers.ENOMEM  # looks at every piece
    for place in range(layout.MAPPINGS, GIB, 2000 * PAGE):
        assert host.ask("munmap", place, 3 * PAGE) == 0
    assert host.ask("munmap", layout.MAPPINGS, REST) == 0
    assert host.space.free == [(layout.MAPPINGS, GIB)]


def test_memory_in_very_many_pieces_is_managed_in_bounds():
    slowest, grown = cost(take_from_fragments)
    assert slowest < 0.5
    assert grown < 64 * MIB


def send_nothing_very_often(host):
    host.map(8 * MIB)
    assert host.ask("write", OUTPUT, layout.MAPPINGS, 8 * MIB) == 8 * MIB  # two million empty frames


def test_counting_frames_takes_time_in_proportion_to_their_bytes():
    slowest, grown = cost(send_nothing_very_often)
    assert slowest < 2 * SLOW
    assert grown < 24 * MIB
