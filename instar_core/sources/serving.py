"""The process that talks to the network: it opens one source, hands an open file over, and serves it to its end.

Its host holds the other end of the control socket; when that is closed, this process ends. It holds nothing of its
host's memory: it is started as a program.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import traceback

from instar_sandbox.errors import WallError
from instar_sandbox.jail import landlock, privileges

from instar_core import limits
from instar_core.errors import DeviceError, InstarError
from instar_core.sources import fuse, mounting
from instar_core.sources.opening import CONTROL, MESSAGE
from instar_core.sources.served import File, told
from instar_core.sources.spec import misfit
from instar_core.sources.spool import spooled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.sources.backend import Backend
    from instar_core.sources.spec import SourceSpec

PATIENCE = 2
"""Seconds that the source has for ending what it does, and the connection."""
BRIEFLY = 0.2
"""The same for one that is only read: nothing is lost there."""
FAILED = 1


def main() -> None:
    """The process has served its source, and ended."""
    code = FAILED
    control = socket.socket(fileno=CONTROL)
    try:
        os.set_inheritable(CONTROL, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the host too, which decides
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        order = json.loads(control.recv(MESSAGE))
        _serve(control, order)
        code = 0
    except BaseException as error:
        message = {"error": told(error), "errno": getattr(error, "errno", None) or 0}
        if isinstance(error, InstarError):
            message["hint"] = error.hint
        _say(control, message)
        if os.environ.get("INSTAR_DEBUG") == "1":
            traceback.print_exc()
    finally:
        os._exit(code)


def _serve(control: socket.socket, order: dict[str, Any]) -> None:
    spec = _plugin(order["value"], order["scheme"])
    missing, kernel, root = "", -1, -1
    try:
        kernel, root = mounting.mounted()  # while there is one thread
    except DeviceError as error:
        missing = error.message
    if missing and order["writable"]:
        raise DeviceError(f"a source can only be written to where it can be served as a file: {missing}")
    if spec.files:
        _retire()  # what it imports may start threads, which would keep what they were born with
    backend = _opened(spec, order["name"], order["writable"])
    if not spec.files:
        _retire()
    size = backend.size
    if size is not None and not 0 <= size <= limits.VIRTUAL_SIZE:
        raise DeviceError(f"the source claims to have {size} bytes", errno=errno.EFBIG)
    if missing or size is None or not backend.anywhere:
        if order["writable"]:
            raise DeviceError("the source cannot be written to at any place")
        file = spooled(backend, order["folder"], order["limit"])
        size = os.fstat(file).st_size
        backend.close()
        _ready(control, backend, size, file, spooled=True)
        return
    served = File(kernel, backend, size, lambda text: _say(control, {"trouble": text}))
    worker = threading.Thread(target=_work, args=(control, served, backend, size, root, spec, order["write"]))
    worker.daemon = True
    worker.start()
    _listen(control, kernel, served)
    served.stop()
    worker.join(PATIENCE if backend.writable else BRIEFLY)


def _work(
    control: socket.socket, served: File, backend: Backend, size: int, root: int, spec: SourceSpec, write: bool
) -> None:
    """The file is opened, which the reader answers, and handed over; then requests are worked on."""
    try:
        file = mounting.opened(root, fuse.NAME, write=write)
        os.close(root)
        _ready(control, backend, size, file)
        if not spec.files:
            _wall()
        served.work()
    except BaseException as error:
        _say(control, {"error": told(error), "errno": getattr(error, "errno", None) or 0})
        os._exit(FAILED)


def _listen(control: socket.socket, kernel: int, served: File) -> None:
    """Every message of the kernel is taken, until the host goes or nobody has the file open any more."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(kernel, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if control.fileno() in ready:
            return
        try:
            message = os.read(kernel, fuse.BUFFER)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # a request that was taken back
                continue
            if error.errno == errno.ENODEV:
                return
            raise
        served.take(message)


def _plugin(value: str, scheme: str) -> SourceSpec:
    module, _, attribute = value.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    reason = misfit(found, scheme)
    if reason:
        raise DeviceError(f"the plugin for {scheme} cannot be used: {reason}")
    spec: SourceSpec = found
    return spec


def _opened(spec: SourceSpec, name: str, write: bool) -> Backend:
    module, _, attribute = spec.opener.partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)(name, write)
    if write and not backend.writable:
        raise DeviceError(f"Could not open image: {os.strerror(errno.EACCES)}", errno=errno.EACCES)
    return backend


def _retire() -> None:
    """No right is left but those of the user, and none can be gained."""
    try:
        privileges.drop_bounding_set()
        privileges.drop_capabilities()
        privileges.no_new()
    except WallError as error:
        raise DeviceError(f"no source can be served: {error}") from error


def _wall() -> None:
    """No file and no connection can be opened any more by this thread, where the kernel can see to that."""
    try:
        landlock.restrict()
    except WallError:
        return


def _ready(control: socket.socket, backend: Backend, size: int, file: int, *, spooled: bool = False) -> None:
    message = {"size": size, "shown": backend.shown, "driver": backend.driver, "spooled": spooled}
    socket.send_fds(control, [json.dumps(message).encode()], [file])
    os.close(file)


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    for key, value in message.items():
        if isinstance(value, str):
            message[key] = value[: limits.MESSAGE]
    try:
        control.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)
    except OSError:  # the host does not listen, or has been told enough
        return


if __name__ == "__main__":
    sys.exit("this program is started by instar")
