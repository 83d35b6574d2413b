"""The connection to an NBD server: exact reads and writes with a time limit, and plain words where it breaks."""

from __future__ import annotations

import errno
import os
import socket

from instar_core import limits
from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.sources.nbd.address import Address


class Stream:
    """A connected socket. Every method raises DeviceError; after one did, each fails in the same way."""

    def __init__(self, address: Address) -> None:
        self._broken = ""
        try:
            if address.path:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(limits.SOURCE_PATIENCE)
                self._socket.connect(address.path)
            else:
                self._socket = socket.create_connection((address.host, address.port), limits.SOURCE_PATIENCE)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except socket.gaierror as error:
            text = f"address resolution failed for {address.place}: {error.strerror}"
            raise DeviceError(text, errno=errno.EHOSTUNREACH) from error
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            why = why or ("Connection timed out" if isinstance(error, TimeoutError) else str(error))
            code = getattr(error, "errno", None) or errno.EIO
            raise DeviceError(f"Failed to connect to '{address.place}': {why}", errno=code) from error

    def send(self, *pieces: bytes | memoryview) -> None:
        """The server gets these bytes."""
        self._sound()
        try:
            if len(pieces) == 1:
                self._socket.sendall(pieces[0])
                return
            done = self._socket.sendmsg(pieces)
            for piece in pieces:
                if done < len(piece):
                    self._socket.sendall(memoryview(piece)[done:])
                done = max(0, done - len(piece))
        except OSError as error:
            raise self.broken(_why(error)) from error

    def take(self, length: int) -> bytearray:
        """The next bytes from the server, exactly as many."""
        made = bytearray(length)
        self.into(memoryview(made))
        return made

    def into(self, view: memoryview) -> None:
        """The view holds the next bytes from the server."""
        self._sound()
        try:
            while view:
                got = self._socket.recv_into(view)
                if not got:
                    raise self.broken("the NBD server closed the connection")
                view = view[got:]
        except OSError as error:
            raise self.broken(_why(error)) from error

    def broken(self, why: str) -> DeviceError:
        """The connection is not used any more; the error that says so."""
        self._broken = self._broken or why
        return DeviceError(self._broken, errno=errno.EIO)

    def close(self) -> None:
        """The connection has ended."""
        self._socket.close()

    def _sound(self) -> None:
        if self._broken:
            raise DeviceError(self._broken, errno=errno.EIO)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"the NBD server has not answered for {limits.SOURCE_PATIENCE} s"
    return f"the connection to the NBD server broke: {os.strerror(error.errno or errno.EIO)}"
