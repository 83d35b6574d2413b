"""Objects of an object store on this machine, read through fsspec."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
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
CONTENT = random.Random(6).randbytes(3 * MIB + 512)
SERVER = (
    "from moto.server import DomainDispatcherApplication, create_backend_app\n"
    "from werkzeug.serving import make_server\n"
    "application = DomainDispatcherApplication(create_backend_app)\n"
    "server = make_server('127.0.0.1', 0, application, threaded=True)\n"
    "print(server.port, flush=True)\n"
    "server.serve_forever()\n"
)


def put(place: str, path: str, data: bytes) -> None:
    request = urllib.request.Request(f"{place}/{path}", data=data, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=me/20200101/us-east-1/s3/aws4_request")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30):
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An S3 server with one bucket; where it is."""
    for module in ("s3fs", "moto", "flask"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed, by which an object store would be had here")
    words = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        place = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            put(place, "bucket", b"")
            put(place, "bucket/disk.raw", CONTENT)
            yield place
        finally:
            server.kill()


@pytest.fixture
def s3(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The bucket as the environment makes it known to s3fs."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", store)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    return "s3://bucket"


def test_an_object_is_read_at_any_place(s3: str) -> None:
    servers.need_fuse()
    opened = device.open_named(f"{s3}/disk.raw")
    try:
        for at in (0, MIB - 7, len(CONTENT) - 20):
            assert os.pread(opened.descriptor, 20, at) == CONTENT[at : at + 20]
    finally:
        opened.close()


def test_an_object_is_converted(s3: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    instar_core.convert([f"{s3}/disk.raw"], str(target), source_format="raw", settings=INSIDE)
    assert target.read_bytes() == CONTENT


def test_an_object_that_is_not_there_is_told(instar, s3: str) -> None:
    expected = f"qemu-img: Could not open '{s3}/absent': the store has no such object\n"
    assert instar("info", f"{s3}/absent") == (1, "", expected)


def test_a_bucket_is_no_object(s3: str) -> None:
    with pytest.raises(InstarError, match="no object but a folder"):
        device.open_named(s3)


def test_an_object_that_is_replaced_is_not_read_on(s3: str, store: str) -> None:
    servers.need_fuse()
    put(store, "bucket/changing", CONTENT)
    opened = device.open_named(f"{s3}/changing")
    with pytest.raises(InstarError) as caught:
        try:
            assert os.pread(opened.descriptor, 20, 0) == CONTENT[:20]
            put(store, "bucket/changing", CONTENT[::-1])
            os.pread(opened.descriptor, 20, 2 * MIB)
        except OSError as error:
            raise DeviceError("reading failed") from error
        finally:
            opened.close()
    assert "the store failed" in caught.value.hint


def test_nothing_is_written_to_a_store(s3: str) -> None:
    servers.need_fuse()
    with pytest.raises(InstarError, match="objects of a store can only be read"):
        device.open_named(f"{s3}/disk.raw", write=True)


@pytest.mark.parametrize("name", ["s3:bucket/x", "s3://a::file:///etc/passwd"])
def test_what_is_no_url_of_a_store_is_refused(name: str) -> None:
    with pytest.raises(InstarError, match="No valid URL specified"):
        device.open_named(name)


def test_a_store_without_its_library_says_what_is_missing() -> None:
    missing = "fsspec" if importlib.util.find_spec("fsspec") is None else "gcsfs"
    if importlib.util.find_spec(missing) is not None:
        pytest.skip(f"{missing} is installed")
    with pytest.raises(InstarError) as caught:
        device.open_named("gs://bucket/x")
    assert missing in caught.value.message
