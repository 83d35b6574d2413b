"""The life of the process that runs one guest, from fork to exit: it never returns to the code that forked it.

It is a jailed worker itself: the guest's machine is made first, then all walls go up, and behind them it may run the
one processor, read its files, and read and write its channel.
"""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import resource
import sys

from instar_sandbox.errors import NoPlatform, WallError
from instar_sandbox.jail import child, descriptors, limits, order, signals
from instar_sandbox.kvm import layout, machine, restore, snapshot
from instar_sandbox.kvm.errors import BackendError, GuestExited, GuestFault, GuestForbidden
from instar_sandbox.kvm.output import Output
from instar_sandbox.kvm.sealed import SealedCalls
from instar_sandbox.lastwords import (
    EXIT_FAILED,
    EXIT_FAULT,
    EXIT_FORBIDDEN,
    EXIT_MEMORY,
    SAY_FAILED,
    SAY_FAULT,
    SAY_FORBIDDEN,
    SAY_MEMORY,
    SAY_PLATFORM,
    SAY_WALL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import NoReturn

    from instar_sandbox.kvm.machine import Machine
    from instar_sandbox.kvm.snapshot import Description
    from instar_sandbox.program import Limits

OWN_MEMORY = 24 << 20
"""Bytes of address space that the monitor keeps for itself when it sizes the guest."""


def run(
    input: int,
    output: int,
    files: Sequence[int],
    image: int,
    description: Description | None,
    limits_of: Limits,
    parent: int,
    unsafe_walls_off: Collection[str] = (),
    *,
    large: bool | None = None,
    ready: bool = False,
) -> NoReturn:
    """The guest of the snapshot in descriptor `image` has run, and the process has ended.

    Without its description, that is read first; `large`, if given, overrides what it says. With `ready` the one file
    is a socket: the restored guest stands still until an order comes there, which brings its files.
    """
    code = EXIT_FAILED
    says = Output(output)
    try:
        gc.freeze()
        signals.reset()
        kept = sys.stdin, sys.stdout, sys.stderr  # noqa: F841  their buffers are the parent's and must not be flushed
        sys.stdin = sys.stdout = sys.stderr = None
        limits.room()
        count = len(files)
        *_, image = descriptors.renumber(input, output, [*files, image])
        says = Output(descriptors.OUTPUT)
        if child.LIMITS not in unsafe_walls_off:
            limits.work(limits_of.cpu, limits_of.memory)
        if description is None:
            description = snapshot.read(image)
        if large is not None:
            description.large = large
        shared = None if ready else shared_memory(count)
        kvm = machine.open_device()
        guest, memory, space = restore.restore(kvm, room(limits_of.memory), image, description, shared)
        guest.detach(image)
        descriptors.close_from(image + 1)
        child.retire(parent, unsafe_walls_off)
        guest.warm()
        if ready:
            count = take_order(guest, unsafe_walls_off)
        child.seal(count, unsafe_walls_off, guest.vcpu)
        serve(guest, SealedCalls(memory, space, says, count), *description.call)
    except GuestExited as end:
        code = end.code
    except GuestForbidden as error:
        code = EXIT_FORBIDDEN
        _say(says, SAY_FORBIDDEN, error)
    except GuestFault as error:
        code = EXIT_FAULT
        _say(says, SAY_FAULT, error)
    except MemoryError:
        code = EXIT_MEMORY
        _say(says, SAY_MEMORY, "")
    except (NoPlatform, BackendError, snapshot.Damaged) as error:
        _say(says, SAY_PLATFORM, str(error).removeprefix("no platform: "))
    except WallError as error:
        _say(says, SAY_WALL, error)
    except BaseException as error:
        _say(says, SAY_FAILED, f"the guest's monitor: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def take_order(guest: Machine, unsafe_walls_off: Collection[str]) -> int:
    """The order came on the socket FIRST; its files, whose count this is, and after them the processor are in place."""
    cpu, files = order.wait(descriptors.FIRST)
    if child.LIMITS not in unsafe_walls_off:
        limits.bound(resource.RLIMIT_CPU, cpu, cpu + 1)
    *_, guest.vcpu = order.place([*files, guest.vcpu])
    return len(files)


def serve(guest: Machine, calls: SealedCalls, number: int, arguments: tuple[int, ...]) -> NoReturn:
    """The guest goes on from the call that it waits in, until it ends by one exception or another."""
    while True:
        guest.answer(calls.answer(number, arguments))
        number, arguments = guest.next_call()


def room(wanted: int, used: int | None = None) -> int:
    """Bytes for a guest in a process that may use `wanted` bytes of address space, and uses `used` already.

    Without the latter, this process is looked at. Raises MemoryError where there are too few.
    """
    ceiling = resource.getrlimit(resource.RLIMIT_AS)[0]
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    if used is None:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            used = int(file.read(64).split()[0]) * mmap.PAGESIZE
    left = min(wanted - used - OWN_MEMORY, layout.MOST_MEMORY) // layout.LARGE * layout.LARGE
    if left < layout.LEAST_MEMORY:
        raise MemoryError(f"{wanted} bytes of address space are too few for a guest")
    return left


def shared_memory(files: int) -> mmap.mmap | None:
    """The one of the worker's files that is open for writing too: memory that the host shares, mapped here."""
    for number in range(descriptors.FIRST, descriptors.FIRST + files):
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            return mmap.mmap(number, os.fstat(number).st_size)
    return None


def _say(says: Output, kind: bytes, why: object) -> None:
    try:
        says.last_words(kind + str(why).encode("utf-8", "replace")[:4096])
    except OSError:  # nobody listens
        return
