"""The kvm platform: a session whose worker is a guest, in a jailed monitor forked from this very process."""

from __future__ import annotations

import os

from instar_sandbox import process
from instar_sandbox.errors import Cause, JailError, NoPlatform
from instar_sandbox.kvm import monitor
from instar_sandbox.kvm.abi import DEVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import NoReturn

    from instar_sandbox.kvm.store import Snapshot
    from instar_sandbox.program import Limits, Program
    from instar_sandbox.session import PipeSession


LEAST_WORKING_MEMORY = 16 << 20
"""Bytes that a guest is to have beyond what its snapshot takes."""


SERVER_MEMORY = 64 << 20
"""Bytes of address space that the fork server is taken to use."""


def require(limits: Limits, snapshot: Snapshot, *, server: bool) -> None:
    """There is room for a guest in a worker of these limits, forked from here or by the server. Raises NoPlatform."""
    try:
        room = monitor.room(limits.memory, SERVER_MEMORY if server else None)
    except MemoryError as error:
        raise NoPlatform(f"no platform: {error}") from error
    if room < snapshot.description.top + LEAST_WORKING_MEMORY:
        raise NoPlatform(f"no platform: {room} bytes are too few for a guest of this snapshot")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise NoPlatform(f"no platform: {DEVICE} cannot be used by this user")


def start(
    program: Program,
    descriptors: Sequence[int],
    limits: Limits,
    max_frame: int,
    snapshot: Snapshot,
    unsafe_walls_off: Collection[str] = (),
) -> PipeSession:
    """A session with a guest that goes on from the snapshot.

    Forked from here, or by the fork server from a process that should not fork.
    """
    from instar_sandbox import platforms

    if platforms.crowded(limits.memory):
        from instar_sandbox import remote

        return remote.start(program, descriptors, limits, max_frame, unsafe_walls_off, snapshot)

    def run(input: int, output: int, parent: int) -> NoReturn:
        monitor.run(
            input, output, descriptors, snapshot.descriptor, snapshot.description, limits, parent, unsafe_walls_off
        )

    session = process.forked(run, limits, max_frame)
    introduce(session, program, max_frame, len(descriptors))
    return session


def introduce(session: PipeSession, program: Program, max_frame: int, files: int) -> None:
    """The guest of a monitor that just began knows what to do. Raises JailError."""
    try:
        tell(session, program, max_frame, files)
    except JailError as error:
        if error.cause == Cause.CUT:
            raise NoPlatform("no platform: the guest's monitor could not be started") from error
        raise


def tell(session: PipeSession, program: Program, max_frame: int, files: int) -> None:
    """The guest knows what to do. Raises JailError."""
    for frame in (b"%d %d" % (max_frame, files), program.module.encode(), program.argument):
        session.send(frame)
