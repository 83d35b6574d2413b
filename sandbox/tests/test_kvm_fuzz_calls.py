"""Whatever a guest has in its registers at a system call, its host gives a number or ends it, and stays as it was."""

import importlib.util
import os
import pathlib
import sys
import time
from collections import Counter

import pytest
from instar_sandbox.kvm import layout, numbers, restore
from instar_sandbox.kvm.errors import GuestEnded
from instar_sandbox.kvm.memory import GuestMemory


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens, child, hostile, watching = map(load, ("kvm_specimens", "kvm_child", "kvm_hostile", "kvm_watch"))
PREAD = numbers.NUMBERS["pread64"]
SLOWEST = 5.0 * (20 if "INSTAR_SVM_INSIDE" in os.environ else 1)
"""Seconds of processor time that one call may take at most, on any machine: a guest pays for them."""


def fuzzed(seed, count, size, restored):
    """Counts of what came of so many calls, the slowest of them, the growth of the process, whether a frame is torn."""
    if restored:  # most of a guest's memory is its snapshot's file
        old, taken = specimens.filled(seed)
        made = specimens.kept("restored", specimens.described(old, taken), old)
        old.close()
        memory = GuestMemory(size)
        restore.share(memory, made.descriptor, made.description)
    else:
        memory = GuestMemory(size)
    arena = watching.Arena(memory)
    guest = hostile.Hostile(seed, memory, arena.space, watching.FILES)
    results, slowest = Counter(), (0.0, "")
    for index in range(count):
        number, arguments = guest.call()
        said = f"seed {seed}, call {index}: {numbers.named(number)}{tuple(map(hex, arguments))}"
        began = time.process_time()
        try:
            result = arena.calls.answer(number, arguments)
        except GuestEnded as error:
            results[type(error).__name__] += 1
        except BaseException as error:
            raise AssertionError(said) from error
        else:
            assert type(result) is int, said
            results["errors" if -4096 < result < 0 else "results"] += 1
            guest.answered(number, result)
            if result > 0 and number == PREAD and arguments[0] & 0xFFFFFFFF == arena.reading:
                assert memory.part(arguments[1], result) == arena.content[arguments[3] : arguments[3] + result], said
        slowest = max(slowest, (time.process_time() - began, said))
        if index % 200 == 0 or index == count - 1:
            arena.check(said)
    return results, slowest, arena.most, arena.output.torn


def attacked(folder, seed, count, *, size=layout.LEAST_MEMORY, restored=False, seconds=60.0):
    with watching.surroundings(folder, seed) as files:
        result, stream = child.work(fuzzed, files, seed, count, size, restored, seconds=seconds, seed=seed)
    results, slowest, most, torn = result
    print(f"seed {seed}: {sum(results.values())} calls, {dict(results)}")
    print(f"{stream.total} bytes sent, {most >> 20} MiB grown, slowest {slowest[0] * 1000:.0f} ms: {slowest[1]}")
    assert torn == stream.torn
    assert most < size + watching.OWN
    assert slowest[0] < SLOWEST, slowest
    assert min(results[name] for name in ("results", "errors", "GuestFault", "GuestForbidden")) > count / 50
    return sum(results.values())


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_calls_harm_nobody(tmp_path, seed, restored):
    attacked(tmp_path, seed, 2500, restored=restored)


@pytest.mark.long
def test_very_many_hostile_calls_harm_nobody(tmp_path):
    seed = int(os.environ.get("INSTAR_TEST_SEED") or time.time())
    print(f"seeds from {seed} (INSTAR_TEST_SEED)")
    began, done = time.monotonic(), 0
    while done < 500_000 and time.monotonic() - began < 600:
        size = layout.LEAST_MEMORY << seed % 2
        done += attacked(tmp_path, seed, 25_000, size=size, restored=bool(seed & 2), seconds=300)
        seed += 1
    print(f"{done} calls in {time.monotonic() - began:.0f} s")
    assert done >= 500_000, "the machine is too slow for this test"
