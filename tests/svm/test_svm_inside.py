"""What must hold on the machine that run.py makes, before anything else that is tried there proves something."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

import pytest

pytestmark = [
    pytest.mark.kvm,
    pytest.mark.skipif("INSTAR_SVM_INSIDE" not in os.environ, reason="holds on the machine of tests/svm/run.py only"),
]
GET_API_VERSION, CREATE_VM, GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
CREATE_VCPU, SET_USER_MEMORY_REGION, RUN = 0xAE41, 0x4020AE46, 0xAE80
GET_SREGS, SET_SREGS, SET_REGS = 0x8138AE83, 0x4138AE84, 0x4090AE82
EXIT_REASON, EXIT_IO, EXIT_HLT = 8, 2, 5
IO_DIRECTION, IO_OUT, IO_PORT, IO_OFFSET = 32, 1, 34, 40
START, PAGE = 0x1000, 4096


def test_the_processor_and_its_module_are_those_of_amd():
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    assert {"svm", "npt"} <= set(flags)
    with open("/sys/module/kvm_amd/parameters/npt") as file:
        assert file.read().strip() in {"1", "Y"}


def test_a_guest_of_three_instructions_runs_and_says_what_it_was_given():
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    assert fcntl.ioctl(kvm, GET_API_VERSION, 0) == 12
    machine = fcntl.ioctl(kvm, CREATE_VM, 0)
    memory = mmap.mmap(-1, PAGE)
    memory[:5] = b"\x04\x02\xe6\x10\xf4"  # add al, 2; out 0x10, al; hlt
    address = struct.pack("<IIQQQ", 0, 0, START, PAGE, address_of(memory))
    fcntl.ioctl(machine, SET_USER_MEMORY_REGION, address)
    processor = fcntl.ioctl(machine, CREATE_VCPU, 0)
    shared = mmap.mmap(processor, fcntl.ioctl(kvm, GET_VCPU_MMAP_SIZE, 0))
    segments = bytearray(312)
    fcntl.ioctl(processor, GET_SREGS, segments)
    struct.pack_into("<QIH", segments, 0, 0, 0xFFFF, 0)  # the code segment begins at 0
    fcntl.ioctl(processor, SET_SREGS, segments)
    fcntl.ioctl(processor, SET_REGS, struct.pack("<18Q", 40, *[0] * 15, START, 2))

    fcntl.ioctl(processor, RUN, 0)
    assert struct.unpack_from("<I", shared, EXIT_REASON) == (EXIT_IO,)
    assert (shared[IO_DIRECTION], shared[IO_PORT]) == (IO_OUT, 0x10)
    (offset,) = struct.unpack_from("<Q", shared, IO_OFFSET)
    assert shared[offset] == 42
    fcntl.ioctl(processor, RUN, 0)
    assert struct.unpack_from("<I", shared, EXIT_REASON) == (EXIT_HLT,)
    for descriptor in (processor, machine, kvm):
        os.close(descriptor)


def address_of(memory: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
