"""Servers on this machine that tests of sources talk to, and what these tests need of it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_NBD = os.environ.get("INSTAR_QEMU_NBD") or (
    str(Path(QEMU_IMG).with_name("qemu-nbd")) if QEMU_IMG and Path(QEMU_IMG).with_name("qemu-nbd").exists() else None
)
NBDKIT = shutil.which("nbdkit")
MOUNT = "from instar_core.sources.mounting import mounted; mounted()"


@functools.cache
def without_fuse() -> str:
    """Why no source can be served as a file here; empty where one can."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", MOUNT], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def need_fuse() -> None:
    """The test is skipped where no source can be served as a file."""
    if without_fuse():
        pytest.skip(f"no FUSE for this user: {without_fuse()}")


@contextlib.contextmanager
def running(command: list[str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server runs, and listens on the Unix socket."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 20
            while not place.exists():
                assert server.poll() is None, f"{command[0]} has ended"
                assert time.monotonic() < end, f"{command[0]} does not listen"
                time.sleep(0.01)
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def qemu_nbd(folder: Path, image: Path, *options: str, name: str = "socket") -> Iterator[str]:
    """The file, exported to one client at a time as qemu-nbd does it; its name."""
    if QEMU_NBD is None:
        pytest.skip("qemu-nbd is not installed")
    place = folder / name
    if "-f" not in options:
        options = ("-f", "raw", *options)
    with running([QEMU_NBD, "-t", "-k", str(place), *options, str(image)], place):
        yield f"nbd+unix:///?socket={place}"


@contextlib.contextmanager
def nbdkit(folder: Path, *words: str, name: str = "socket") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """nbdkit with these words; the name of its export, and the process."""
    if NBDKIT is None:
        pytest.skip("nbdkit is not installed")
    place = folder / name
    with running([NBDKIT, "--foreground", "-U", str(place), *words], place) as server:
        yield f"nbd+unix:///?socket={place}", server


@contextlib.contextmanager
def listening(image: Path) -> Iterator[int]:
    """The file, exported by nbdkit at a port of 127.0.0.1; the port."""
    if NBDKIT is None:
        pytest.skip("nbdkit is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        begin = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        words = [sys.executable, "-c", begin, str(listener.fileno()), NBDKIT, "--foreground", "file", str(image)]
        server = subprocess.Popen(words, pass_fds=[listener.fileno()])
    with server:
        try:
            yield place[1]
        finally:
            server.kill()


@contextlib.contextmanager
def scripted(folder: Path, talk: Callable[[socket.socket], None], name: str = "scripted") -> Iterator[str]:
    """A server that talks to each client as it is told, and closes; the name of its export."""
    place = str(folder / name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(place)
    listener.listen(4)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError, EOFError):
                talk(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"nbd+unix:///?socket={place}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def exactly(client: socket.socket, length: int) -> bytes:
    """The next bytes of the client. Raises EOFError."""
    made = b""
    while len(made) < length:
        got = client.recv(length - len(made))
        if not got:
            raise EOFError
        made += got
    return made
