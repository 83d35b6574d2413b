"""The life of a jailed process, from fork to exit: it never returns to the code that forked it."""

from __future__ import annotations

import gc
import os
import resource
import sys

from instar_sandbox.errors import WallError
from instar_sandbox.frames import Channel
from instar_sandbox.jail import descriptors, landlock, lifetime, limits, namespaces, privileges, seccomp, signals
from instar_sandbox.lastwords import EXIT_FAILED, EXIT_MEMORY, SAY_FAILED, SAY_MEMORY, SAY_WALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import NoReturn

    from instar_sandbox.program import Limits, Program

NAMESPACES = "namespaces"
PRIVILEGES = "privileges"
LANDLOCK = "landlock"
SECCOMP = "seccomp"
LIMITS = "limits"
WALLS = frozenset({NAMESPACES, PRIVILEGES, LANDLOCK, SECCOMP, LIMITS})
"""Names by which tests leave walls out."""


def run(
    program: Program | None,
    input: int,
    output: int,
    files: Sequence[int],
    limits_of: Limits,
    parent: int,
    max_frame: int,
    unsafe_walls_off: Collection[str] = (),
    ready: str | None = None,
) -> NoReturn:
    """The program has run behind walls, and the process has ended. Without a program, the channel brings it first.

    With `ready`, a module, the one file is a socket: the process retires and waits there for its order, which brings
    its files; then the channel brings the argument. What prepare() may need is imported before.
    """
    code = EXIT_FAILED
    channel = None
    try:
        gc.freeze()  # else a collection here could close, or flush into, descriptors of the parent's lost objects
        signals.reset()
        kept = sys.stdin, sys.stdout, sys.stderr  # noqa: F841  their buffers are the parent's and must not be flushed
        sys.stdin = sys.stdout = sys.stderr = None  # print and warnings do nothing
        limits.room()
        numbers = descriptors.renumber(input, output, files)
        channel = Channel(descriptors.INPUT, descriptors.OUTPUT, max_frame)
        if LIMITS not in unsafe_walls_off:
            limits.work(limits_of.cpu, limits_of.memory)
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = "1"  # threads of a library would stand outside some of the walls
        if ready is None:
            serve(program, channel, numbers, parent, unsafe_walls_off)
        else:
            stand_ready(ready, channel, numbers[0], parent, unsafe_walls_off)
        code = 0
    except MemoryError:
        code = EXIT_MEMORY
        if channel is not None:
            channel.last_words(SAY_MEMORY)
    except WallError as error:
        _say(channel, output, SAY_WALL, str(error), max_frame)
    except BaseException as error:
        _say(channel, output, SAY_FAILED, f"{type(error).__name__}: {error}", max_frame)
    finally:
        os._exit(code)


def serve(
    program: Program | None, channel: Channel, files: tuple[int, ...], parent: int, unsafe_walls_off: Collection[str]
) -> None:
    """The program has run to its end, prepared outside the walls."""
    if program is None:
        module, argument = channel.receive().decode(), channel.receive()
    else:
        module, argument = program.module, program.argument
    __import__(module)
    code = sys.modules[module]
    state = code.prepare(argument, files)
    descriptors.close_from(descriptors.FIRST + len(files))
    raise_walls(len(files), parent, unsafe_walls_off)
    code.serve(state, channel)


def stand_ready(module: str, channel: Channel, control: int, parent: int, unsafe_walls_off: Collection[str]) -> None:
    """The program has run to its end, prepared behind all walls but the last, when an order came on the socket."""
    from instar_sandbox.jail import order

    __import__(module)
    code = sys.modules[module]
    retire(parent, unsafe_walls_off)
    cpu, files = order.wait(control)
    if LIMITS not in unsafe_walls_off:
        limits.bound(resource.RLIMIT_CPU, cpu, cpu + 1)
    numbers = order.place(files)
    state = code.prepare(channel.receive(), numbers)
    seal(len(numbers), unsafe_walls_off)
    code.serve(state, channel)


def raise_walls(files: int, parent: int, unsafe_walls_off: Collection[str] = ()) -> None:
    """All walls are up. Raises WallError if a mandatory one is not; best effort ones may be missing."""
    retire(parent, unsafe_walls_off)
    seal(files, unsafe_walls_off)


def retire(parent: int, unsafe_walls_off: Collection[str] = ()) -> None:
    """Nothing is left that this process could reach by a name, a right or a signal; it can still make threads.

    Raises WallError.
    """
    threads = count_threads()
    if threads > 1:
        raise WallError(f"the program had {threads} threads before its walls were up; it may have one")
    root = os.geteuid() == 0
    entered = NAMESPACES not in unsafe_walls_off and root and _tried(namespaces.enter, False)
    if entered:
        _tried(namespaces.empty_root)
    if PRIVILEGES not in unsafe_walls_off:
        privileges.drop_bounding_set()
        _tried(privileges.leave_root)
    if NAMESPACES not in unsafe_walls_off and not entered and _tried(namespaces.enter, True):
        _tried(namespaces.empty_root)
    if PRIVILEGES not in unsafe_walls_off:
        privileges.drop_bounding_set()
        privileges.drop_capabilities()
    lifetime.tie(parent)
    privileges.no_new()
    if LANDLOCK not in unsafe_walls_off:
        _tried(landlock.restrict)


def seal(files: int, unsafe_walls_off: Collection[str] = (), processor: int | None = None) -> None:
    """The last walls are up, after retire(). Raises WallError.

    `processor` is the descriptor of a virtual processor that this process may run.
    """
    if LIMITS not in unsafe_walls_off:
        limits.harm()
    if SECCOMP not in unsafe_walls_off:
        seccomp.seal(files, processor)


def count_threads() -> int:
    """Threads of this process; 1 where /proc cannot tell."""
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1


def _tried(wall, *arguments) -> bool:  # type: ignore[no-untyped-def]
    """Whether a wall that is best effort went up."""
    try:
        wall(*arguments)
    except WallError:
        return False
    return True


def _say(channel: Channel | None, output: int, kind: bytes, text: str, max_frame: int) -> None:
    """The host knows why, if it still listens."""
    try:
        (channel or Channel(output, output, max_frame)).last_words(kind, text)
    except (OSError, ValueError):
        return
