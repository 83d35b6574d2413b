"""Files of web servers: read range by range, whatever goes wrong on the way, and never written."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import instar_core
from instar_core import device
from instar_core.errors import DeviceError, InstarError
from instar_core.settings import Settings
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")
MIB = 1 << 20
INSIDE = Settings(sandbox="process")
CONTENT = random.Random(4).randbytes(3 * MIB + 512)


class Shop:
    """What the server has, and how it behaves."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True
        self.tag = '"one"'
        self.asked: list[tuple[str, str | None]] = []
        self.told: list[str | None] = []
        self.faults: list[Callable[[Handler], bool]] = []
        """Each is asked once, in order, and answers a request where it returns True."""
        self.after = 1
        """The first requests, which are answered faithfully."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop: Shop

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        shop = self.shop
        wanted = self.headers.get("Range")
        shop.asked.append((self.path, wanted))
        shop.told.append(self.headers.get("Authorization"))
        if len(shop.asked) > shop.after and shop.faults and shop.faults.pop(0)(self):
            return
        if self.path.startswith("/moved/"):
            self.say(302, b"", Location=f"/{int(self.path[7:]) - 1}" if self.path == "/moved/1" else self.fewer())
            return
        if self.path == "/absent":
            self.say(404, b"no")
            return
        if wanted is None or not shop.ranges:
            self.say(200, shop.content)
            return
        first, last = (int(number) for number in re.findall(r"\d+", wanted))
        if first >= len(shop.content):
            self.say(416, b"", **{"Content-Range": f"bytes */{len(shop.content)}"})
            return
        piece = shop.content[first : last + 1]
        place = f"bytes {first}-{first + len(piece) - 1}/{len(shop.content)}"
        self.say(206, piece, **{"Content-Range": place})

    def fewer(self) -> str:
        return f"/moved/{int(self.path[7:]) - 1}"

    def say(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"ETag": self.shop.tag, "Content-Length": str(length or len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(shop: Shop, context: ssl.SSLContext | None = None) -> Iterator[str]:
    handler = type("Handler", (Handler,), {"shop": shop})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go when they like
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def shop() -> Shop:
    return Shop()


def read(name: str, offset: int = 0, length: int = len(CONTENT)) -> bytes:
    """The bytes at a place; an error says what went wrong at the source."""
    opened = device.open_named(name)
    try:
        made = b""
        while len(made) < length:
            got = os.pread(opened.descriptor, min(MIB, length - len(made)), offset + len(made))
            if not got:
                break
            made += got
        return made
    except OSError as error:
        raise DeviceError("reading failed") from error
    finally:
        opened.close()


def failure(name: str) -> str:
    with pytest.raises(InstarError) as caught:
        read(name)
    return caught.value.hint or caught.value.message


def test_only_what_is_wanted_is_fetched(shop: Shop) -> None:
    servers.need_fuse()
    with serving(shop) as place:
        assert read(f"{place}/disk", 2 * MIB + 5, 10) == CONTENT[2 * MIB + 5 :][:10]
    assert shop.asked == [("/disk", "bytes=0-0"), ("/disk", f"bytes={2 * MIB}-{3 * MIB - 1}")]


def test_what_was_fetched_is_kept(shop: Shop) -> None:
    servers.need_fuse()
    with serving(shop) as place:
        opened = device.open_named(f"{place}/disk")
        try:
            for at in (0, 100, MIB - 1, 4096):
                assert os.pread(opened.descriptor, 512, at) == CONTENT[at : at + 512]
        finally:
            opened.close()
    assert len(shop.asked) == 3


def test_a_whole_file_is_read_in_few_requests(shop: Shop) -> None:
    with serving(shop) as place:
        assert read(f"{place}/disk") == CONTENT
    assert len(shop.asked) <= 5


def test_an_image_is_converted_and_compared(shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with serving(shop) as place:
        name = f"{place}/disk.raw"
        instar_core.convert([name], str(target), source_format="raw", settings=INSIDE)
        assert target.read_bytes() == CONTENT
        same = instar_core.compare(name, str(target), first_format="raw", second_format="raw", settings=INSIDE)
        assert same.identical
        shown = instar_core.info(name, format="raw", settings=INSIDE)[0]
    assert (shown.filename, shown.allocated, shown.children[0].driver) == (name, None, "http")


def test_a_server_without_ranges_is_read_once_and_whole(shop: Shop) -> None:
    shop.ranges = False
    with serving(shop) as place:
        assert read(f"{place}/disk") == CONTENT
    assert [wanted for _, wanted in shop.asked] == ["bytes=0-0", None]


def test_an_empty_file_is_empty(shop: Shop) -> None:
    shop.content = b""
    with serving(shop) as place:
        assert read(f"{place}/disk") == b""


def test_nothing_is_written_to_a_web_server(instar, shop: Shop) -> None:
    Path("new").write_bytes(bytes(512))
    with serving(shop) as place:
        name = f"{place}/disk"
        expected = f"qemu-img: Could not open '{name}': "
        for words in (["convert", "-n", "-f", "raw", "-O", "raw", "new", name], ["resize", "-f", "raw", name, "1M"]):
            code, _, said = instar(*words)
            assert code == 1 and said.startswith(expected)
            assert "can only be read" in said or "cannot be had here" in said
    assert not shop.asked


def test_redirects_are_followed_and_remembered(shop: Shop) -> None:
    servers.need_fuse()
    shop.after = 99
    with serving(shop) as place:
        assert read(f"{place}/moved/3", 5, 5) == CONTENT[5:10]
    assert [path for path, _ in shop.asked] == ["/moved/3", "/moved/2", "/moved/1", "/0", "/0"]


def test_redirects_without_end_are_not_followed(shop: Shop) -> None:
    with serving(shop) as place:
        assert failure(f"{place}/moved/50") == "the server leads elsewhere more than 10 times"
    assert len(shop.asked) == 11


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "http://["])
def test_redirects_lead_to_web_servers_only(shop: Shop, elsewhere: str) -> None:
    shop.after = 0
    shop.faults = [lambda handler: handler.say(302, b"", Location=elsewhere) is None]
    with serving(shop) as place:
        assert failure(f"{place}/disk") == "No valid URL specified"


def test_a_user_is_told_to_the_server_that_the_name_means_and_to_no_other(shop: Shop) -> None:
    other = Shop()
    with serving(shop) as place, serving(other) as elsewhere:
        shop.after = 0
        shop.faults = [lambda handler: handler.say(302, b"", Location=f"{elsewhere}/disk") is None]
        name = f"{place}/disk".replace("//", "//me:my%20secret@")
        opened = device.open_named(name)
        try:
            assert opened.path == f"{place}/disk"
        finally:
            opened.close()
    assert shop.told[0] == "Basic bWU6bXkgc2VjcmV0"
    assert set(other.told) == {None}


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


PASSING: dict[str, Callable[[Handler], bool]] = {
    "500": lambda handler: handler.say(500, b"oops") is None,
    "503": lambda handler: handler.say(503, b"later") is None,
    "closed": hang_up,
    "short": lambda handler: (
        handler.say(206, b"x" * 10, MIB, **{"Content-Range": f"bytes 0-{MIB - 1}/{len(CONTENT)}"}) is None
        and hang_up(handler)
    ),
}


@pytest.mark.parametrize("what", PASSING)
def test_what_may_pass_is_tried_again(shop: Shop, what: str) -> None:
    servers.need_fuse()
    shop.faults = [PASSING[what], PASSING[what]]
    with serving(shop) as place:
        assert read(f"{place}/disk") == CONTENT
    assert not shop.faults


LASTING: dict[str, tuple[Callable[[Handler], bool], str]] = {
    "always 500": (lambda handler: handler.say(500, b"oops") is None, "the server says: 500 Internal Server Error"),
    "gone": (lambda handler: handler.say(404, b"") is None, "the server says: 404 Not Found"),
    "whole": (lambda handler: handler.say(200, CONTENT) is None, "the server does not send ranges any more"),
    "another state": (
        lambda handler: handler.say(206, bytes(MIB), **{
            "ETag": '"two"', "Content-Range": f"bytes 0-{MIB - 1}/{len(CONTENT)}"
        }) is None,
        "the file was changed on the server while it was read",
    ),
    "another size": (
        lambda handler: handler.say(206, bytes(MIB), **{"Content-Range": f"bytes 0-{MIB - 1}/{MIB}"}) is None,
        "the file was changed on the server while it was read",
    ),
    "another range": (
        lambda handler: handler.say(206, bytes(MIB), **{"Content-Range": f"bytes 1-{MIB}/{len(CONTENT)}"}) is None,
        f"the server sent bytes 1 to {MIB} for 0 to {MIB - 1}",
    ),
    "no range": (lambda handler: handler.say(206, bytes(MIB)) is None, "the server does not say which range it sends"),
    "a range of words": (
        lambda handler: handler.say(206, b"", **{"Content-Range": "bytes x-y/z"}) is None,
        "the server does not say which range it sends",
    ),
    "too much": (
        lambda handler: handler.say(206, bytes(MIB + 1), **{"Content-Range": f"bytes 0-{MIB - 1}/{len(CONTENT)}"})
        is None,
        f"the server sent {MIB + 1} bytes for {MIB}",
    ),
    "packed": (
        lambda handler: handler.say(206, bytes(MIB), **{
            "Content-Encoding": "gzip", "Content-Range": f"bytes 0-{MIB - 1}/{len(CONTENT)}"
        }) is None,
        "the server sends the file as gzip, which was not asked for",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LASTING)
def test_what_lasts_is_told(shop: Shop, what: str) -> None:
    servers.need_fuse()
    fault, said = LASTING[what]
    shop.faults = [fault] * 8
    with serving(shop) as place:
        assert failure(f"{place}/disk") == said


def test_a_file_that_changed_is_never_half_of_each(instar, shop: Shop) -> None:
    servers.need_fuse()
    shop.after = 2

    def change(_: Handler) -> bool:
        shop.tag = '"two"'
        return False

    shop.faults = [change]
    with serving(shop) as place:
        code, _, said = instar("convert", "-f", "raw", "-O", "raw", f"{place}/disk", "copy")
    assert code == 1 and "the file was changed on the server while it was read" in said
    assert not Path("copy").exists()


@pytest.mark.parametrize(
    "name,said",
    [
        ("http://", "No valid URL specified"),
        ("http:x", "No valid URL specified"),
        ("http://h:99999/", "No valid URL specified"),
        ("http://h/\x01", "No valid URL specified"),
        ("http://127.0.0.1:9/x", "Failed to connect to '127.0.0.1:9': Connection refused"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str, said: str) -> None:
    assert failure(name) == said


def test_a_file_that_is_not_there_is_told(instar, shop: Shop) -> None:
    with serving(shop) as place:
        name = f"{place}/absent"
        expected = f"qemu-img: Could not open '{name}': the server says: 404 Not Found\n"
        assert instar("info", name) == (1, "", expected)


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    both = str(tmp_path / "both.pem")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", both, "-out", f"{both}.crt", "-days", "2"]
    words += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{both}.crt", both)
    with serving(shop, context) as place:
        said = failure(f"{place}/disk")
        assert said.startswith("no trusted connection to 127.0.0.1:") and "self" in said
        monkeypatch.setenv("SSL_CERT_FILE", f"{both}.crt")
        assert read(f"{place}/disk") == CONTENT
