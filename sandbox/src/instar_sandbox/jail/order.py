"""The one order that a worker which stands ready waits for: its files and its CPU time, on a socket of its own.

The socket leads straight to the host, so the fork server never holds what the worker is to read.
"""

from __future__ import annotations

import fcntl
import os
from struct import Struct

from instar_sandbox.jail import descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import socket
    from collections.abc import Sequence
else:
    import _socket  # the C half: `socket` brings enum

READY = b"ready"
"""What the worker says when nothing is left to do but to wait."""
HEAD = Struct("<II")
"""CPU seconds, count of files."""
MORE = b"more"
AT_ONCE = 200
"""Descriptors in one packet; the kernel takes 253."""
NUMBER = Struct("=i")


def give(control: socket.socket, cpu: int, files: Sequence[int]) -> None:
    """The order is with the worker. Raises OSError if that is gone. Blocks only while the worker is slow to listen."""
    head = HEAD.pack(cpu, len(files))
    for at in range(0, max(1, len(files)), AT_ONCE):
        numbers = b"".join([NUMBER.pack(number) for number in files[at : at + AT_ONCE]])
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if numbers else []
        control.sendmsg([MORE if at else head], rights)


def wait(number: int) -> tuple[int, list[int]]:
    """CPU seconds and files, in order, as the host gave them on the socket `number`, which stays open.

    Raises EOFError if the host hangs up, which needs no worker any more.
    """
    control = _socket.socket(fileno=number)
    try:
        control.send(READY)
        packet, files = _hear(control)
        cpu, count = HEAD.unpack(packet)
        while len(files) < count:
            files += _hear(control)[1]
    except (BrokenPipeError, ConnectionResetError) as error:
        raise EOFError("the host needs no worker any more") from error
    finally:
        control.detach()
    return cpu, files


def _hear(control: _socket.socket) -> tuple[bytes, list[int]]:
    packet, rights, flags, _ = control.recvmsg(HEAD.size, _socket.CMSG_SPACE(AT_ONCE * NUMBER.size))
    if not packet:
        raise EOFError("the host needs no worker any more")
    if flags & _socket.MSG_CTRUNC:
        raise OSError("an order brought more files than this process may open")
    return packet, [number for _, _, content in rights for (number,) in NUMBER.iter_unpack(content)]


def place(files: Sequence[int]) -> tuple[int, ...]:
    """The files are descriptors FIRST and on, and all after them are closed. Returns their numbers."""
    end = descriptors.FIRST + len(files)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, end) for number in files]
    for number, source in enumerate(high, descriptors.FIRST):
        os.dup2(source, number, inheritable=False)
    descriptors.close_from(end)
    return tuple(range(descriptors.FIRST, end))
