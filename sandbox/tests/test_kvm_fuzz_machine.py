"""Whatever code a guest runs and whatever its registers hold, the machine gives calls or faults and stays a machine."""

import importlib.util
import os
import pathlib
import struct
import sys
import time
from collections import Counter

import pytest
from instar_sandbox.kvm import abi, layout, machine, numbers
from instar_sandbox.kvm.errors import GuestEnded, GuestFault, GuestForbidden
from instar_sandbox.kvm.memory import GuestMemory


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


pytestmark = pytest.mark.kvm

child, hostile, watching, guests = map(load, ("kvm_child", "kvm_hostile", "kvm_watch", "kvm_guests"))
WORD = (1 << 64) - 1
PATIENCE = 0.01
"""Seconds for code that may run for ever."""
TURNS = 6
ARITHMETIC = 0x8D5
EMULATED = "INSTAR_SVM_INSIDE" in os.environ
"""Random code must have no `mov` to segment registers: to one that there is not, the emulator writes its task register,
and stops at the next exception.
"""
CODE = guests.CODE


class Fuzz:
    """One guest under attack by itself, and the counts of what came of it."""

    def __init__(self, seed):
        self.memory = GuestMemory(layout.LEAST_MEMORY)
        self.guest = guests.Guest(self.memory)
        self.arena = watching.Arena(self.memory)
        self.hostile = hostile.Hostile(seed, self.memory, self.arena.space, watching.FILES)
        self.chance = self.hostile.chance
        self.results = Counter()
        self.exits = 0

    def answer(self, number, arguments):
        """As the monitor would; a guest that is to end gets some number, and goes on."""
        try:
            result = self.arena.calls.answer(number, arguments)
        except GuestEnded:
            result = self.hostile.value()
        else:
            assert type(result) is int
            self.hostile.answered(number, result)
        self.guest.machine.answer(result)
        if self.guest.machine.stays_user:  # in place of the processor, the host returns
            registers = self.guest.registers()
            assert registers[abi.RIP] == registers[abi.RCX] < 1 << 47
            assert registers[abi.RFLAGS] & ~(ARITHMETIC | 0x240600) == 2, "a flag that no program may set"
        return result & WORD

    def at_exit(self, said):
        """Privileged code runs nowhere but in the stub and in the handlers."""
        rip, special = self.guest.registers()[abi.RIP], self.guest.special()
        level = special[abi.CS_DPL]
        assert guests.task(special) == guests.task(self.guest.first), said
        handlers = range(layout.HIGH + layout.HANDLERS, layout.HIGH + layout.HANDLERS + 16 * layout.EXCEPTIONS)
        assert level == 3 or (level == 0 and (rip in machine.STUB_PLACES or rip in handlers)), (said, hex(rip), level)

    def calls(self, count):
        """The loop's calls arrive as they were made, and its registers are its own across each."""
        guest, view = self.guest, self.memory.view
        guest.begin(CODE)
        told = 0
        for index in range(count):
            number, arguments = self.hostile.call()  # writes anywhere
            view[CODE : CODE + guests.REACH] = guests.LOOP
            guests.WORDS.pack_into(view, guests.ENTRY, number, *arguments, told)
            got = guest.machine.next_call()
            said = f"call {index}: {numbers.named(number)}{tuple(map(hex, arguments))}"
            assert got == (number, arguments), said
            registers = guest.registers()
            assert registers[abi.RBX] == guests.ENTRY, said
            assert registers[abi.RSP] == layout.STACK_END - 64, said
            assert registers[abi.RCX] == CODE + guests.LOOP.index(b"\x0f\x05") + 2, said
            if index:
                assert view[guests.ENTRY + 56 : guests.ENTRY + 64] == struct.pack("<Q", told), said
            told = self.answer(*got)
            self.exits += 1
            if index % 300 == 0:
                self.at_exit(said)
                self.check(said)
        self.results["calls"] += count

    def turn(self, said):
        """The guest runs to its next call and is answered. Raises GuestEnded, Stuck."""
        with guests.Patience(PATIENCE):
            got = self.guest.machine.next_call()
        self.exits += 1
        self.results["calls"] += 1
        assert self.guest.registers()[abi.RIP] in machine.STUB_PLACES, said
        self.at_exit(said)
        self.answer(*got)

    def ended(self, error, said):
        """A guest came to its end; the next one may need another machine."""
        self.exits += 1
        text = f"{type(error).__name__} {error}".partition(" at 0x")[0]
        self.results[text] += 1
        if isinstance(error, GuestFault) and "rule of the processor" not in text:
            self.guest.renew()
        else:
            self.at_exit(said)

    def flags(self):
        if self.chance.random() < 0.6:
            return machine.FIXED_FLAGS
        return self.chance.choice((self.hostile.value(), self.chance.getrandbits(22), 0x100, 0x3000, 0x44000, 0x10000))

    def leave(self, said):
        """The guest comes to the stub with any rcx, r11 and flags, by system call or otherwise."""
        rcx = self.chance.choice(
            (CODE, self.hostile.value(), self.hostile.pointer(), layout.STUB, (1 << 47) - 1, 1 << 47)
        )
        how, code = guests.leaving(self.chance, rcx, self.hostile.value(), self.flags())
        said = f"{said}: {how}, rcx {rcx & WORD:#x}"
        at = CODE + self.chance.choice((0, 1, 63, 1000, layout.PAGE - len(code) - 40))
        self.memory.put(at, code + b"\x0f\x0b")
        self.guest.begin(at)
        self.go_on(said)

    def burst(self, said):
        """Random code from a random place, with any registers."""
        chance = self.chance
        code = guests.garbage(chance, chance.choice((20, 100, 400)))
        if EMULATED:
            code = code.replace(b"\x8e", b"\x90")
        place = chance.choice((CODE, layout.STACK_START, layout.MAPPINGS, self.memory.size - len(code)))
        self.memory.put(place, code)
        registers = [chance.choice((self.hostile.value(), self.hostile.pointer(), place)) for _ in range(18)]
        registers[abi.RIP] = place if chance.random() < 0.9 else self.hostile.value()
        registers[abi.RFLAGS] = machine.FIXED_FLAGS | self.flags() & 0x254DD5
        kind = chance.random()
        if kind < 0.5:
            registers[abi.RSP] = layout.STACK_END - 4096
        elif kind < 0.8:  # no address at all: one backend then emulates each instruction
            registers[abi.RSP] = chance.randrange(1 << 47, WORD - (1 << 47))
        try:
            self.guest.place(registers)
        except OSError:  # KVM takes no such registers
            self.results["refused registers"] += 1
            self.guest.renew()
            return
        self.go_on(said)

    def go_on(self, said):
        try:
            for _ in range(TURNS):
                self.turn(said)
            self.results["still running"] += 1
        except guests.Stuck:
            self.results["stuck"] += 1
            self.at_exit(said)
        except GuestEnded as error:
            self.ended(error, said)

    def check(self, said):
        self.arena.check(said)
        self.guest.check(said)


def fuzzed(seed, exits, kinds):
    """So many exits at least, and how they came about."""
    fuzz = Fuzz(seed)
    fuzz.calls(5)  # the first exit tells where `syscall` lands: a booting guest's, whose code is trusted
    index = 0
    while fuzz.exits < exits:
        kind = kinds[index % len(kinds)]
        said = f"seed {seed}, case {index}, {kind}"
        try:
            if kind == "calls":
                fuzz.calls(min(exits, 400))
            else:
                getattr(fuzz, kind)(said)
                if index % 40 == 0:
                    fuzz.check(said)
        except AssertionError:
            raise
        except BaseException as error:
            raise AssertionError(said) from error
        index += 1
    fuzz.guest.begin(CODE)
    fuzz.calls(20)  # after all that, a guest runs as it should
    fuzz.check(f"seed {seed}, the end")
    return fuzz.exits, fuzz.results, fuzz.guest.renewed, fuzz.arena.most


def attacked(folder, seed, exits, kinds, seconds=60.0):
    began = time.monotonic()
    with watching.surroundings(folder, seed) as files:
        result, _ = child.work(fuzzed, files, seed, exits, kinds, seconds=seconds, seed=seed)
    done, results, renewed, most = result
    print(f"seed {seed}: {done} exits, {renewed} machines more, {most >> 20} MiB, {time.monotonic() - began:.1f} s")
    for name, count in results.most_common():
        print(f"  {count} {name}")
    assert most < layout.LEAST_MEMORY + watching.OWN
    return done, results


def test_calls_arrive_as_they_are_made(tmp_path):
    done, _ = attacked(tmp_path, 1, 2000, ["calls"])
    assert done >= 2000


def test_the_way_to_a_call_does_not_matter(tmp_path):
    _, results = attacked(tmp_path, 2, 1500, ["leave"])
    ends = Counter()
    for text, count in results.items():
        ends[text.partition(" ")[0]] += count
    assert results["calls"] > 150
    assert ends["GuestFault"] > 150


def test_random_code_ends_or_asks(tmp_path):
    _, results = attacked(tmp_path, 3, 4000, ["burst"])
    assert results["calls"] > 50
    assert sum(count for text, count in results.items() if text.startswith("GuestFault")) > 150


WILD_STACK = b"\x48\xbc" + guests.number(1 << 47)  # mov rsp, what no address is
TWO_CALLS = b"\x0f\x05" * 2


@pytest.mark.parametrize("registers", [{}, {abi.RSP: 1 << 47}, {abi.RFLAGS: 0x10202}], ids=["tame", "wild", "resuming"])
@pytest.mark.parametrize("code", [TWO_CALLS, WILD_STACK + TWO_CALLS], ids=["calls", "calls on a wild stack"])
@pytest.mark.parametrize(
    ("last", "why"),
    [
        (b"\xf4", "general protection"),
        (b"\x0f\x20\xd8", "general protection"),
        (b"\xa1" + guests.number(layout.PML4), "page fault"),
        (b"\xa3" + guests.number(layout.STUB), "page fault"),
    ],
    ids=["halting", "reading a control register", "reading the tables", "writing to the stub"],
)
def test_code_behind_a_call_is_unprivileged_however_the_call_was_made(code, last, why, registers):
    """One backend emulates instructions while the stack pointer is wild: `syscall` leads to the other level then."""
    memory = GuestMemory(layout.LEAST_MEMORY)
    guest = guests.Guest(memory)
    memory.put(CODE, b"\x0f\x05\x0f\x0b")
    guest.begin(CODE)
    guest.machine.next_call()  # what a guest does while it boots
    memory.put(CODE, code + last)
    words = [0] * 18
    words[abi.RIP], words[abi.RSP], words[abi.RFLAGS] = CODE, layout.STACK_END - 64, machine.FIXED_FLAGS
    for index, value in registers.items():
        words[index] = value
    guest.place(words)
    wild = words[abi.RSP] >> 47 or code != TWO_CALLS
    try:
        for value in (7, 0):
            with guests.Patience(5):
                guest.machine.next_call()
            guest.machine.answer(value)
        with pytest.raises(GuestFault, match=why), guests.Patience(5):
            guest.machine.next_call()
    except GuestForbidden as error:
        assert wild, "a call of a program in order was refused"
        assert "privilege" in str(error)
    finally:
        guest.machine.close()


@pytest.mark.long
def test_very_much_hostile_code_harms_nobody(tmp_path):
    seed = int(os.environ.get("INSTAR_TEST_SEED") or time.time())
    print(f"seeds from {seed} (INSTAR_TEST_SEED)")
    began, done = time.monotonic(), 0
    while done < 100_000 and time.monotonic() - began < 900:
        done += attacked(tmp_path, seed, 10_000, ["calls", *["leave", "burst"] * 200], seconds=400)[0]
        seed += 1
    print(f"{done} exits in {time.monotonic() - began:.0f} s")
    assert done >= 100_000, "the machine is too slow for this test"
