"""Executing the edits that need no content: on files and on block devices, fresh or not."""

from __future__ import annotations

import errno
import os
import stat

from instar_core import limits
from instar_core.dataplane import ioctls
from instar_core.dataplane.positional import failed, write_from
from instar_core.dataplane.sparse import ZEROS
from instar_core.errors import ContractViolation, DeviceError
from instar_core.types import Barrier, Copy, Punch, Put, Reserve, Truncate, Zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_core.types import Edit

END = (1 << 63) - 1
"""Largest place that a file can have."""

STEP = 64 << 20
"""Zeros written between two looks at whether to stop."""


def checked(edit: Edit, devices: int) -> Edit:
    """The edit, if its place can exist: device known, nothing negative, nothing past 2^63. Raises ContractViolation."""
    if isinstance(edit, Barrier):
        return edit
    if isinstance(edit, Truncate):
        offset, length = edit.size, 0
    elif isinstance(edit, Put):
        offset, length = edit.offset, len(edit.data)
        if length > limits.FRAME:
            raise ContractViolation(f"an edit puts {length} bytes at once")
    elif isinstance(edit, Copy | Zero | Punch | Reserve):
        offset, length = edit.offset, edit.length
    else:
        raise ContractViolation(f"{type(edit).__name__} is not an edit")
    if not 0 <= edit.device < devices:
        raise ContractViolation(f"an edit is for device {edit.device}, which does not exist")
    if offset < 0 or length < 0 or offset + length > END:
        raise ContractViolation(f"an edit is for {length} bytes at {offset}, which no file has")
    return edit


def flush(targets: Sequence[int]) -> None:
    """All that was written is on stable storage. Raises DeviceError."""
    for target in targets:
        try:
            os.fdatasync(target)
        except OSError as error:
            raise failed("flushing", 0, error) from error


def execute(
    edit: Edit,
    targets: Sequence[int],
    *,
    barrier: Callable[[Sequence[int]], None] = flush,
    between: Callable[[], None] | None = None,
) -> None:
    """The edit (no Copy) is done. `between` is called in long ones and may raise. Raises DeviceError."""
    if isinstance(edit, Put):
        write_from(targets[edit.device], memoryview(edit.data), edit.offset)
    elif isinstance(edit, Zero):
        zero(targets[edit.device], edit.offset, edit.length, between=between)
    elif isinstance(edit, Punch):
        punch(targets[edit.device], edit.offset, edit.length, between=between)
    elif isinstance(edit, Reserve):
        reserve(targets[edit.device], edit.offset, edit.length, edit.how, between=between)
    elif isinstance(edit, Truncate):
        truncate(targets[edit.device], edit.size)
    elif isinstance(edit, Barrier):
        barrier(targets)
    else:
        raise ContractViolation(f"{type(edit).__name__} cannot be done here")


def zero(descriptor: int, offset: int, length: int, *, between: Callable[[], None] | None = None) -> None:
    """The range reads as zeros and is allocated."""
    if not length:
        return
    try:
        block = stat.S_ISBLK(os.fstat(descriptor).st_mode)
        if ioctls.zero_out(descriptor, offset, length) if block else ioctls.zero_range(descriptor, offset, length):
            return
    except OSError as error:
        raise failed("writing", offset, error) from error
    write_zeros(descriptor, offset, length, between=between)


def write_zeros(descriptor: int, offset: int, length: int, *, between: Callable[[], None] | None = None) -> None:
    """Zeros are written over the range."""
    done = 0
    zeros = memoryview(ZEROS)
    while done < length:
        step = min(len(ZEROS), length - done)
        write_from(descriptor, zeros[:step], offset + done)
        done += step
        if between and not done % STEP:
            between()


def punch(descriptor: int, offset: int, length: int, *, between: Callable[[], None] | None = None) -> None:
    """The range reads as zeros, deallocated where that can be. A file does not grow by it."""
    facts = os.fstat(descriptor)
    regular = stat.S_ISREG(facts.st_mode)
    if regular:
        length = min(length, facts.st_size - offset)
    if length <= 0:
        return
    try:
        if ioctls.punch(descriptor, offset, length):
            return
        if not regular and ioctls.zero_out(descriptor, offset, length):
            return
    except OSError as error:
        raise failed("writing", offset, error) from error
    write_zeros(descriptor, offset, length, between=between)


def reserve(descriptor: int, offset: int, length: int, how: str, *, between: Callable[[], None] | None = None) -> None:
    """There is room on disk for the range; with `how` full its bytes are written zeros. Block devices have it."""
    if not length:
        return
    regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    try:
        if how == "full":
            write_zeros(descriptor, offset, length, between=between)
        elif regular:
            os.posix_fallocate(descriptor, offset, length)
    except (OSError, DeviceError) as error:
        code = error.errno or 0
        raise DeviceError(f"Could not preallocate data for the new file: {os.strerror(code)}", errno=code) from error


def truncate(descriptor: int, size: int) -> None:
    """A file has this size; a block device has at least it."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        if size > os.lseek(descriptor, 0, os.SEEK_END):
            raise DeviceError("Cannot grow device files")
        return
    if size == facts.st_size:  # else ext4, for a file cut to nothing, writes everything out when it is closed
        return
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        code = error.errno or 0
        if code == errno.EOPNOTSUPP:
            raise DeviceError(f"Cannot grow the source, which has {facts.st_size} bytes", errno=code) from error
        raise DeviceError(f"Could not resize file: {os.strerror(code)}", errno=code) from error
