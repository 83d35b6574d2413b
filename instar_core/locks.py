"""QEMU's image locks, so that instar and a running QEMU exclude each other.

A lock is a shared open-file-description lock on one byte: 100 + bit says "I use this permission", 200 + bit "I do not
share it". Nobody locks exclusively; a conflict is found by asking whether an exclusive lock could be had. Locks die
with the open file description. Source: observation of QEMU 10 and 11.
"""

from __future__ import annotations

import errno
import fcntl
from struct import Struct

from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.device import Device

FLOCK = Struct("hhqqi4x")
GETLK, SETLK = 36, 37
"""F_OFD_GETLK and F_OFD_SETLK of Linux."""
USED, UNSHARED = 100, 200
CONSISTENT_READ, WRITE, _WRITE_UNCHANGED, RESIZE = range(4)
NAMES = {CONSISTENT_READ: "consistent read", WRITE: "write", RESIZE: "resize"}

LOOK = ((), (WRITE, RESIZE))
"""info of a format with metadata: nothing is read that a writer could tear, but no writer may be at work."""
READ = ((CONSISTENT_READ,), (WRITE, RESIZE))
"""Reading content or tables."""
PLAIN = ((CONSISTENT_READ,), ())
"""Looking at a raw disk, which says nothing that a writer could make untrue."""
CHANGE = ((CONSISTENT_READ, WRITE, RESIZE), (WRITE, RESIZE))
"""Changing an image."""
CREATE = ((WRITE, RESIZE), (RESIZE,))
"""Making a new image over whatever is there."""


def take(device: Device, claim: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """The claim (used, unshared permissions) is locked on the device, and nobody else's conflicts with it.

    On a file system without locks nothing happens. Raises DeviceError, in qemu's words, where another process is in the
    way.
    """
    used, unshared = claim
    device.locked = True
    for byte in [USED + bit for bit in used] + [UNSHARED + bit for bit in unshared]:
        try:
            fcntl.fcntl(device.descriptor, SETLK, FLOCK.pack(fcntl.F_RDLCK, 0, byte, 1, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise _busy(device, f"Failed to lock byte {byte}") from error
            return
    for bit in used:
        if _taken(device, UNSHARED + bit):
            raise _busy(device, f'Failed to get "{NAMES[bit]}" lock')
    for bit in unshared:
        if _taken(device, USED + bit):
            raise _busy(device, f'Failed to get shared "{NAMES[bit]}" lock')


def release(device: Device) -> None:
    """Nothing is locked on the device any more by its descriptor."""
    try:
        fcntl.fcntl(device.descriptor, SETLK, FLOCK.pack(fcntl.F_UNLCK, 0, USED, 2 * (UNSHARED - USED), 0))
    except OSError:
        return  # a file system without locks


def _taken(device: Device, byte: int) -> bool:
    answer = fcntl.fcntl(device.descriptor, GETLK, FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0))
    return bool(FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _busy(device: Device, message: str) -> DeviceError:
    error = DeviceError(message, errno=errno.EAGAIN, path=device.path)
    error.hint = f"Is another process using the image [{device.path}]?"
    return error
