"""Resource limits of a worker."""

from __future__ import annotations

import resource

STACK = 8 << 20


def bound(kind: int, soft: int, hard: int | None = None) -> None:
    """The limit is at most this; one that is already tighter stays."""
    ceiling = resource.getrlimit(kind)[1]
    top = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        top = min(top, ceiling)
    resource.setrlimit(kind, (min(soft, top), top))


def room() -> None:
    """As many descriptors as the system allows: for a moment, each of a worker's files has two."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def work(cpu: int, memory: int) -> None:
    """`cpu` seconds, then SIGXCPU, a second later SIGKILL; `memory` bytes of address space; no core file."""
    bound(resource.RLIMIT_CPU, cpu, cpu + 1)
    bound(resource.RLIMIT_AS, memory)
    bound(resource.RLIMIT_CORE, 0)
    bound(resource.RLIMIT_STACK, STACK)


def harm() -> None:
    """No new descriptor, no new process, no byte into a file, no locked memory.

    Not before imports are over, which open files and may write bytecode, nor before Landlock, which needs a descriptor.
    """
    bound(resource.RLIMIT_NOFILE, 0)
    bound(resource.RLIMIT_NPROC, 0)
    bound(resource.RLIMIT_FSIZE, 0)
    bound(resource.RLIMIT_MEMLOCK, 0)
