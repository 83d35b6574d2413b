"""The host's side of a source: a process is started that serves it, and an open file comes back."""

from __future__ import annotations

import errno
import os
import sys

from instar_core import limits
from instar_core.errors import DeviceError
from instar_core.sources import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final

BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from instar_core.sources.serving import main; main()"
CONTROL: Final = 3
"""The number that the control socket has in the process that serves."""
MESSAGE: Final = 1 << 16
"""Bytes of the longest message on it."""
PATIENCE: Final = 5.0
"""Seconds that the process has for ending before it is killed."""


READING: set[Served] = set()
"""Processes that serve what is only read. The only state of this module: it is for who is about to stop."""


def abandon() -> None:
    """Whoever waits for a source that is only read fails now. Those that are written to are left as they are."""
    for served in list(READING):
        served.kill()


class Served:
    """The process behind a source's descriptors. It ends when every Device that shares it is closed."""

    __slots__ = ("_control", "_killed", "_owner", "_pid", "_users", "driver", "shown")

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control
        self._owner = os.getpid()
        self._users = 1
        self._killed = False
        self.shown = ""
        """The name as qemu writes it."""
        self.driver = ""
        """qemu's name of the protocol."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._pid

    def kill(self) -> None:
        """Nothing is served any more; release() will not have to wait."""
        if self._pid > 0 and self._owner == os.getpid():
            self._killed = True
            os.kill(self._pid, 9)

    def share(self) -> Served:
        """One more Device uses the process."""
        self._users += 1
        return self

    def release(self) -> None:
        """One Device less uses the process; after the last it is gone and reaped."""
        self._users -= 1
        if self._users or self._pid <= 0:
            return
        if self._owner != os.getpid():  # forked off: it is another's child
            self._control.close()
            return
        self.end()

    def receive(self, order: bytes, name: str) -> int:
        """The descriptor of the source that was ordered. Raises DeviceError."""
        import socket

        self._control.send(order)
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        found = _read(message)
        if not descriptors:
            raise _refused(found, name)
        shown, driver = found.get("shown"), found.get("driver")
        if not isinstance(shown, str) or not isinstance(driver, str):
            os.close(descriptors[0])
            raise DeviceError("the process that serves the source cannot be understood", path=name)
        self.shown = shown or name
        self.driver = driver or names.scheme(name)
        if found.get("spooled") is True:
            self.end()
        return descriptors[0]

    def trouble(self, *, ended: bool = False) -> str:
        """What went wrong at the source since last asked, empty where nothing did. `ended` says that the process is
        known to end, if it has not yet."""
        text = ""
        if self._pid <= 0 or self._killed:
            return text
        self._control.settimeout(PATIENCE if ended else 0)
        while True:
            try:
                message = self._control.recv(MESSAGE)
            except (BlockingIOError, TimeoutError):
                return text
            except OSError:
                message = b""
            if not message:
                return text or "the process that serves the source has ended"
            found = _read(message)
            text = text or str(found.get("trouble") or found.get("error") or "")

    def end(self) -> None:
        """The process is gone and reaped."""
        pid, self._pid = self._pid, 0
        READING.discard(self)
        with self._control:
            try:
                self._control.shutdown(1)
                self._control.settimeout(PATIENCE)
                while self._control.recv(MESSAGE):
                    continue
            except OSError:  # it has ended before, or will have to be killed
                self._control.close()
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                _wait(pid)
        except ChildProcessError:  # someone else in this program waits for every child
            return


def _wait(pid: int) -> None:
    """The process is reaped; it is killed where it does not end by itself."""
    import time

    for _ in range(50):
        time.sleep(0.01)
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def opened(name: str, *, write: bool, writable: bool) -> tuple[int, Served]:
    """A descriptor of the source, at any place of which can be read (and written), and the process that serves it.

    `writable` is for a descriptor that will be reopened for writing, if it is not open for it.

    Raises InstarError.
    """
    import json

    order = {
        "name": name,
        "scheme": names.scheme(name),
        "value": names.value(name),
        "write": write,
        "writable": writable,
        "folder": os.path.abspath(os.environ.get("TMPDIR") or "/var/tmp"),  # noqa: S108  a file without a name
        "limit": limits.SPOOL,
    }
    message = json.dumps(order).encode()
    if len(message) > MESSAGE:
        raise DeviceError(os.strerror(errno.ENAMETOOLONG), errno=errno.ENAMETOOLONG, path=name)
    served = _started()
    try:
        descriptor = served.receive(message, name)
    except DeviceError:
        served.release()
        raise
    except BaseException:  # who wants to stop does not wait for what the process waits for
        served.kill()
        served.release()
        raise
    if not writable and served.pid:
        READING.add(served)
    return descriptor, served


def _started() -> Served:
    import socket

    from instar_sandbox.remote import absolute_path

    if not sys.executable:
        raise DeviceError("a source needs to know where the Python interpreter is")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    quiet = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    if os.environ.get("INSTAR_DEBUG") == "1":
        quiet.pop()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-c", BOOT, *absolute_path()],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), CONTROL), *quiet],
        )
    except OSError as error:
        ours.close()
        text = f"no process can be started for the source: {error.strerror}"
        raise DeviceError(text, errno=error.errno or 0) from error
    finally:
        theirs.close()
    return Served(pid, ours)


def _read(message: bytes) -> dict[str, Any]:
    """The message of a process that is not believed."""
    import json

    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refused(found: dict[str, Any], name: str) -> DeviceError:
    text, code, hint = found.get("error"), found.get("errno"), found.get("hint")
    if not isinstance(text, str) or not text:
        text, code = "the process that serves the source has ended", errno.EIO
    error = DeviceError(text[: limits.MESSAGE], errno=code if type(code) is int else 0, path=name)
    error.hint = hint if isinstance(hint, str) else ""
    return error
