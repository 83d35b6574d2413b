"""The descriptors of a worker: known numbers, and nothing else open."""

from __future__ import annotations

import fcntl
import os

from instar_sandbox.errors import WallError
from instar_sandbox.jail import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INPUT = 3
"""Where the worker hears its host."""
OUTPUT = 4
"""Where it answers."""
FIRST = 5
"""Its first file; further ones follow in order."""


def renumber(input: int, output: int, files: Sequence[int]) -> tuple[int, ...]:
    """0..2 are /dev/null, INPUT and OUTPUT the channel, FIRST.. the files; all else is closed. Returns their numbers.

    Raises WallError without /dev/null: a closed 0..2 would be given to the next file that anything opens.
    """
    wanted = [input, output, *files]
    end = INPUT + len(wanted)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, end) for number in wanted]
    try:
        null = os.open("/dev/null", os.O_RDWR)
    except OSError as error:
        raise WallError(f"/dev/null cannot be opened: {error.strerror}") from error
    for number in range(INPUT):
        if number != null:
            os.dup2(null, number, inheritable=False)
    for number, source in enumerate(high, INPUT):
        os.dup2(source, number, inheritable=False)
    close_from(end)
    return tuple(range(FIRST, end))


def close_from(first: int) -> None:
    """No descriptor from `first` on is open."""
    try:
        libc.call("close_range", first, (1 << 32) - 1, 0)
    except OSError:  # Linux before 5.9
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                try:
                    os.close(int(name))
                except OSError:  # the one that listed the folder
                    continue
