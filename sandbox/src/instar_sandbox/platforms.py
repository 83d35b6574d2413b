"""Which sandbox a session runs in."""

from __future__ import annotations

import os

from instar_sandbox.errors import NoPlatform
from instar_sandbox.program import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from instar_sandbox.kvm.store import Snapshot
    from instar_sandbox.program import Limits, Program
    from instar_sandbox.session import Session

CROWD = 2
"""A process that maps more than one part in CROWD of a worker's memory is too large to be its parent."""


def start(
    platform: str,
    program: Program,
    descriptors: Sequence[int],
    limits: Limits,
    *,
    max_frame: int = MAX_FRAME,
    server: bool | None = None,
    snapshot: Snapshot | None = None,
    unsafe_walls_off: Collection[str] = (),
) -> Session:
    """A running session: the program prepares itself, and will serve.

    `platform` is kvm, process, inline, or auto, which is never inline: kvm where there is a snapshot and room for a
    guest, else process. A guest begins at the `snapshot`, and knows no other modules than that.

    The descriptors stay the caller's; the worker has copies. One open for writing too is memory shared with the worker.
    `max_frame` bounds frames either way, in bytes. The child is forked here, or by the fork server (`server`) if
    this process has more than one thread or much memory. `unsafe_walls_off` is for tests of the other walls only.
    Raises NoPlatform, and OSError if no process can be made.
    """
    if platform == "inline":
        from instar_sandbox.inline import InlineSession

        return InlineSession(program, descriptors, limits, max_frame)
    if platform not in ("auto", "process", "kvm"):
        raise NoPlatform(f"no platform: there is no sandbox of the kind {platform!r} here")
    from instar_sandbox.jail import seccomp

    seccomp.require()
    if server is None:
        server = crowded(limits.memory)
    if platform != "process":
        guest = _guest(program, descriptors, limits, max_frame, server, snapshot, unsafe_walls_off, platform == "auto")
        if guest is not None:
            return guest
    if server:
        from instar_sandbox import remote

        return remote.start(program, descriptors, limits, max_frame, unsafe_walls_off)
    from instar_sandbox import process

    return process.start(program, descriptors, limits, max_frame, unsafe_walls_off)


def _guest(
    program: Program,
    descriptors: Sequence[int],
    limits: Limits,
    max_frame: int,
    server: bool,
    snapshot: Snapshot | None,
    unsafe_walls_off: Collection[str],
    optional: bool,
) -> Session | None:
    """A session with a guest; None if there cannot be one and it is `optional`, else NoPlatform."""
    if snapshot is None:
        if optional:
            return None
        raise NoPlatform("no platform: a guest needs a snapshot that was prepared")
    from instar_sandbox.kvm import start as kvm

    try:
        kvm.require(limits, snapshot, server=server)
    except NoPlatform:
        if optional:
            return None
        raise
    if server:
        from instar_sandbox import remote

        return remote.start(program, descriptors, limits, max_frame, unsafe_walls_off, snapshot)
    return kvm.start(program, descriptors, limits, max_frame, snapshot, unsafe_walls_off)


def crowded(memory: int) -> bool:
    """This process has threads, or maps so much that a worker with `memory` bytes could not be forked from it."""
    try:
        if os.stat("/proc/self/task").st_nlink > 3:  # . and .. and one thread
            return True
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pages = int(os.read(statm, 64).split()[0])
        finally:
            os.close(statm)
    except OSError:  # without /proc nothing is known; the server is safe in either case
        return True
    return pages * os.sysconf("SC_PAGE_SIZE") > memory // CROWD
