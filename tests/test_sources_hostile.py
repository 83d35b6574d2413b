"""Servers that lie: each ends in one plain error, soon, and with nothing believed."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import device
from instar_core.errors import DeviceError, InstarError
from instar_core.sources import opening
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")
exactly = servers.exactly
MIB = 1 << 20
GO, STRUCTURED, CONTEXT = 7, 8, 10
ACK, INFO, META, UNSUPPORTED, TLS = 1, 3, 4, (1 << 31) + 1, (1 << 31) + 5
Talk = Callable[[socket.socket], None]


def greet(client: socket.socket) -> None:
    client.sendall(b"NBDMAGICIHAVEOPT" + b"\0\3")
    exactly(client, 4)


def option(client: socket.socket) -> tuple[int, bytes]:
    head = exactly(client, 16)
    number, length = struct.unpack(">II", head[8:])
    return number, exactly(client, length)


def reply(client: socket.socket, number: int, kind: int, body: bytes = b"") -> None:
    client.sendall(struct.pack(">QIII", 0x3E889045565A9, number, kind, len(body)) + body)


def agree(client: socket.socket, size: int = MIB, flags: int = 1, structured: bool = True) -> None:
    """The handshake of an honest server, but for what it says of the export."""
    greet(client)
    while True:
        number, _ = option(client)
        if number == STRUCTURED:
            reply(client, number, ACK if structured else UNSUPPORTED)
        elif number == CONTEXT:
            reply(client, number, META, struct.pack(">I", 1) + b"base:allocation")
            reply(client, number, ACK)
        else:
            reply(client, number, INFO, struct.pack(">HQH", 0, size, flags))
            reply(client, number, ACK)
            return


def request(client: socket.socket) -> tuple[int, int, int, int]:
    """Type, cookie, offset and length of the next request."""
    _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", exactly(client, 28))
    return kind, cookie, offset, length


def chunk(cookie: int, kind: int, body: bytes, flags: int = 1, length: int | None = None) -> bytes:
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(body) if length is None else length) + body


def told(folder: Path, talk: Talk) -> str:
    """What opening, and then reading a sector of, the server's export fails with."""
    with servers.scripted(folder, talk) as name, pytest.raises(InstarError) as caught:
        opened = device.open_named(name)
        try:
            os.pread(opened.descriptor, 512, 0)
        except OSError as error:
            raise DeviceError("reading failed") from error
        finally:
            opened.close()
    return f"{caught.value.message}\n{caught.value.hint}".rstrip()


def option_of(kind: int, body: bytes, asked: int = STRUCTURED) -> Talk:
    def talk(client: socket.socket) -> None:
        greet(client)
        while True:
            number, _ = option(client)
            reply(client, number, kind if number == asked else ACK, body if number == asked else b"")

    return talk


def raw(data: bytes) -> Talk:
    def talk(client: socket.socket) -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        exactly(client, 1 << 20)

    return talk


def endless(client: socket.socket) -> None:
    greet(client)
    number, _ = option(client)
    reply(client, number, UNSUPPORTED)
    number, _ = option(client)
    while True:
        reply(client, number, INFO, b"\0\1name")


def claims(size: int) -> Talk:
    return lambda client: agree(client, size)


HANDSHAKES = {
    "nothing at all": (raw(b""), "the NBD server closed the connection"),
    "another protocol": (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it is no NBD server"),
    "half of a greeting": (raw(b"NBDMAGICnothing!"), "it is no NBD server"),
    "an answer to nobody": (raw(b"NBDMAGICIHAVEOPT\0\3" + bytes(40)), "its answer to an option is none"),
    "a huge answer": (
        raw(b"NBDMAGICIHAVEOPT\0\3" + struct.pack(">QIII", 0x3E889045565A9, STRUCTURED, ACK, 1 << 31)),
        "its answer to an option is none",
    ),
    "answers without end": (endless, "it answers without end"),
    "no size": (option_of(ACK, b"", GO), "it does not say how large the export is"),
    "a size of the wrong length": (option_of(INFO, b"\0\0\0", GO), "the wrong length"),
    "TLS": (option_of(TLS, b"no", STRUCTURED), "the NBD server wants TLS, which is not spoken here: use a tunnel"),
    "a huge export": (claims((1 << 64) - 1), "the export claims to have 18446744073709551615 bytes"),
}


@pytest.mark.parametrize("what", HANDSHAKES)
def test_a_handshake_that_is_none_is_refused(what: str, tmp_path: Path) -> None:
    talk, said = HANDSHAKES[what]
    assert said in told(tmp_path, talk)


REPLIES: dict[str, tuple[Callable[[int, int], bytes], str]] = {
    "garbage": (lambda *_: b"x" * 64, "a reply does not begin like one"),
    "of another request": (lambda cookie, _: chunk(cookie + 1, 1, bytes(520)), "for another request"),
    "simple": (lambda cookie, n: struct.pack(">IIQ", 0x67446698, 0, cookie) + bytes(n), "wants a structured one"),
    "too short": (lambda cookie, n: chunk(cookie, 1, bytes(8 + n - 1)), "left bytes out"),
    "too long": (lambda cookie, n: chunk(cookie, 1, bytes(8 + n + 1)), "bytes that nobody asked for"),
    "huge": (lambda cookie, _: chunk(cookie, 1, bytes(8), length=(1 << 32) - 1), "bytes that nobody asked for"),
    "of another place": (lambda cookie, n: chunk(cookie, 1, b"\xff" * 8 + bytes(n)), "bytes that nobody asked for"),
    "twice": (lambda cookie, n: chunk(cookie, 1, bytes(8 + n), 0) * 2, "bytes that nobody asked for"),
    "a hole too large": (lambda cookie, n: chunk(cookie, 2, struct.pack(">QI", 0, n + 1)), "nobody asked for"),
    "of an unknown kind": (lambda cookie, _: chunk(cookie, 77, b"x"), "a chunk of the kind 77"),
    "stretches": (lambda cookie, _: chunk(cookie, 5, bytes(12)), "a chunk of the kind 5"),
    "an error without a number": (lambda cookie, _: chunk(cookie, 0x8001, bytes(6)), "an error without a number"),
    "an error of great length": (lambda cookie, _: chunk(cookie, 0x8001, b"", length=1 << 30), "of the wrong form"),
    "an error with a message": (
        lambda cookie, _: chunk(cookie, 0x8001, struct.pack(">IH", 5, 5) + b"alas!"),
        "the NBD server says: alas!",
    ),
    "nothing": (lambda *_: chunk(0, 0, b"")[:3], "the NBD server closed the connection"),
    "empty chunks without end": (lambda cookie, _: chunk(cookie, 0, b"", 0) * 70000, "a reply has no end"),
}


@pytest.mark.parametrize("what", REPLIES)
def test_a_reply_that_is_none_is_refused(what: str, tmp_path: Path) -> None:
    servers.need_fuse()
    make, said = REPLIES[what]

    def talk(client: socket.socket) -> None:
        agree(client)
        _, cookie, _, length = request(client)
        client.sendall(make(cookie, length))

    assert said in told(tmp_path, talk)


STRETCHES = {
    "of no length": struct.pack(">III", 1, 0, 3),
    "of another context": struct.pack(">III", 2, 4096, 3),
    "half a one": struct.pack(">III", 1, 4096, 3) + b"xx",
    "none": struct.pack(">I", 1),
}


@pytest.mark.parametrize("what", STRETCHES)
def test_stretches_that_are_none_are_refused(what: str, tmp_path: Path) -> None:
    servers.need_fuse()

    def talk(client: socket.socket) -> None:
        agree(client)
        _, cookie, _, _ = request(client)
        client.sendall(chunk(cookie, 5, STRETCHES[what]))

    with servers.scripted(tmp_path, talk) as name:
        opened = device.open_named(name)
        try:
            with pytest.raises(OSError, match="Input/output error"):
                os.lseek(opened.descriptor, 0, os.SEEK_HOLE)
            assert opened.served is not None
            assert "stretch" in opened.served.trouble()
        finally:
            opened.close()


def test_a_server_that_does_not_greet_holds_nobody_who_wants_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process were waited for, this would take a minute."""
    monkeypatch.setattr(opening, "PATIENCE", 60)
    silent = threading.Event()

    def talk(client: socket.socket) -> None:
        silent.set()
        exactly(client, 1 << 20)

    class Enough(Exception):
        pass

    def stop(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGUSR1, stop)
    files = sorted(os.listdir("/proc/self/fd"))
    with servers.scripted(tmp_path, talk) as name:
        me = threading.main_thread().ident or 0
        caller = threading.Thread(target=lambda: (silent.wait(20), signal.pthread_kill(me, signal.SIGUSR1)))
        caller.start()
        try:
            with pytest.raises(Enough):
                device.open_named(name)
        finally:
            signal.signal(signal.SIGUSR1, before)
            caller.join()
    assert sorted(os.listdir("/proc/self/fd")) == files


def test_a_server_that_says_nothing_holds_nobody_who_wants_to_stop(tmp_path: Path) -> None:
    """The reading thread is interrupted by a signal, while the server is silent."""
    servers.need_fuse()
    silent = threading.Event()

    def talk(client: socket.socket) -> None:
        agree(client)
        request(client)
        silent.set()
        exactly(client, 1 << 20)

    class Enough(Exception):
        pass

    def stop(*_: object) -> None:
        raise Enough

    with servers.scripted(tmp_path, talk) as name:
        opened = device.open_named(name)
        before = signal.signal(signal.SIGUSR1, stop)
        caller = threading.Thread(
            target=lambda: (silent.wait(20), signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1))
        )
        caller.start()
        try:
            with pytest.raises(Enough):
                os.pread(opened.descriptor, 512, 0)
        finally:
            signal.signal(signal.SIGUSR1, before)
            caller.join()
            opened.close()


@pytest.mark.parametrize("number,code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_waits_for_a_silent_server_can_be_stopped(number: int, code: int, tmp_path: Path) -> None:
    """Its data comes in a thread of its own by then. Were that waited for, this would take a minute."""
    servers.need_fuse()
    silent = threading.Event()

    def talk(client: socket.socket) -> None:
        agree(client, 64 * MIB)
        for count in range(1 << 20):
            kind, cookie, offset, length = request(client)
            if kind == 7:
                client.sendall(chunk(cookie, 5, struct.pack(">III", 1, length, 0)))
            elif count < 40:
                client.sendall(chunk(cookie, 1, struct.pack(">Q", offset) + b"x" * length))
            else:
                silent.set()

    code_of_command = "import sys; from instar_core.cli.main import command; command(['instar', *sys.argv[1:]])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    target = tmp_path / "copy"
    with servers.scripted(tmp_path, talk) as name:
        words = [sys.executable, "-c", code_of_command, "convert", "-f", "raw", "-O", "raw", name, str(target)]
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as command:
            assert silent.wait(50)
            command.send_signal(number)
            _, said = command.communicate(timeout=50)
    assert (command.returncode, said, target.exists()) == (code, "", False)
