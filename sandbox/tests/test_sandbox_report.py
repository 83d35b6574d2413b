"""What the report of KVM says is found out by running a machine; what is measured is a worker's right answer."""

import os

import pytest
from instar_sandbox import timing
from instar_sandbox.errors import JailError, NoPlatform
from instar_sandbox.kvm import abi, machine, report, trial

needs_kvm = pytest.mark.usefixtures("needs_kvm")


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read()


@needs_kvm
def test_a_small_machine_runs_and_leaves_nothing_behind():
    before = sorted(os.listdir("/proc/self/fd")), children()
    found = report.report()
    assert (found.device, found.opens, found.version, found.runs, found.why) == ("/dev/kvm", True, 12, True, "")
    assert found.ring in (0, 3)
    assert (sorted(os.listdir("/proc/self/fd")), children()) == before


@needs_kvm
@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"\xeb\xfe", "a machine did not stop within 1 s"),
        (b"\x0f\x0b", "invalid instruction"),
        (report.PROGRAM.replace(b"\x89\xc7", b"\x90\x90"), "computes something else"),
        (report.PROGRAM.replace(b"\xb8" + bytes([report.FIRST]), b"\xb8\x01"), "computes something else"),
        (b"\xe6\x10", "wrote to the port of system calls from elsewhere"),
    ],
    ids=["spins", "faults", "forgets its answer", "asks something else", "uses a port"],
)
def test_a_machine_that_does_not_do_as_told_is_reported(code, why, monkeypatch):
    monkeypatch.setattr(report, "PROGRAM", code)
    monkeypatch.setattr(report, "PATIENCE", 1)
    found = report.report()
    assert (found.opens, found.runs, found.ring) == (True, False, None)
    assert why in found.why
    assert found.why.isprintable()


def test_a_device_that_is_not_there_is_reported(monkeypatch):
    monkeypatch.setattr(abi, "DEVICE", "/nonexistent/kvm")
    found = report.report()
    assert (found.opens, found.version, found.runs, found.ring) == (False, 0, False, None)
    assert found.why == "/nonexistent/kvm cannot be opened: No such file or directory"


def test_a_device_that_is_something_else_is_reported(monkeypatch):
    monkeypatch.setattr(abi, "DEVICE", "/dev/null")
    found = report.report()
    assert (found.opens, found.version, found.runs) == (True, 0, False)
    assert found.why.startswith("/dev/null does not answer: ")


def test_the_first_answer_takes_longer_than_the_next():
    before = sorted(os.listdir("/proc/self/fd")), children()
    found = timing.speed("process", 1 << 30)
    assert 0 < found.next < found.first < 10
    assert (sorted(os.listdir("/proc/self/fd")), children()) == before


def test_a_wrong_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(timing, "ARGUMENT", b"another")
    monkeypatch.setattr(trial, "answer", lambda *_: b"wrong" if os.getpid() == HERE else b"right")
    with pytest.raises(JailError, match="computes something else than its host"):
        timing.speed("process", 1 << 30)


HERE = os.getpid()


def test_another_architecture_has_no_guests(monkeypatch):
    class Elsewhere:
        machine = "aarch64"

    monkeypatch.setattr(os, "uname", Elsewhere)
    with pytest.raises(NoPlatform, match="guests are for x86_64 only"):
        machine.open_device()


@needs_kvm
def test_a_processor_without_xsave_has_no_guests(monkeypatch):
    monkeypatch.setattr(machine, "extended_state", lambda _: 1 << 62)
    found = report.report()
    assert not found.runs
    assert found.why == "the processor's XSAVE is missing here"
