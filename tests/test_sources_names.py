"""Names of sources: the caller's are followed, an image's never; strangers' plugins are found like our own."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import instar_core
from instar_core import chain, described, device, registry
from instar_core.cli import names as cli_names
from instar_core.errors import DeviceError, InstarError, Unusable, UsageError
from instar_core.settings import Settings
from instar_core.sources import Backend, SourceSpec, names, opening
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")
MIB = 1 << 20
INSIDE = Settings(sandbox="process")
BUILT_IN = {
    "nbd", "nbd+unix", "nbd+tcp", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci",
}  # fmt: skip
MODULE = """
from instar_core.sources import Backend, SourceSpec

SPEC = SourceSpec(("toy",), "toysource:opened", "A toy")


class Toy(Backend):
    def __init__(self, path, write):
        self.file = open(path, "r+b" if write else "rb", buffering=0)
        self.size = self.file.seek(0, 2)
        self.writable = write

    def read(self, offset, length):
        self.file.seek(offset)
        return self.file.read(length)

    def write(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)

    def close(self):
        self.file.close()


def opened(name, write):
    return Toy(name.partition(":")[2], write)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a stranger's source plugin: what is replaced in its module, and its distribution."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(old: str = "", new: str = "", distribution: str = "toysource", scheme: str = "toy") -> None:
        assert old in MODULE
        (site / "toysource.py").write_text(MODULE.replace(old, new) if old else MODULE)
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.SOURCES}]\n{scheme} = toysource:SPEC\n")
        registry.forget()

    yield install
    registry.forget()


def test_the_built_in_protocols_are_registered_as_anybodys_are() -> None:
    found = registry.sources()
    assert found.keys() >= BUILT_IN
    assert {found[name].distribution for name in BUILT_IN} == {"instar"}
    assert registry.full(registry.SOURCES) == found


@pytest.mark.parametrize("name", ["disk", "/nbd:x", "./nbd:x", "dir/nbd://x", "a", ":x", "file:x", "json:{}", "rbd:x"])
def test_other_names_are_no_sources(name: str) -> None:
    assert not names.is_source(name)


def test_a_file_can_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nbd:x").write_bytes(bytes(512))
    for name in ("./nbd:x", "file:nbd:x", f"{tmp_path}/nbd:x"):
        assert instar_core.info(name, format="raw", settings=INSIDE)[0].image.virtual_size == 512
    assert chain.plain("file:nbd:x") == cli_names.local("file:nbd:x") == "./nbd:x"
    assert chain.plain(chain.plain("file:nbd:x")) == "./nbd:x"
    opened = device.open_path("nbd:x")
    opened.close()


@pytest.mark.parametrize("name", ["rbd:pool/x", "ssh://h/x", "nbds://h/x", "nbd+foo://x", "foo://x", "a:b"])
def test_a_protocol_that_nobody_speaks_is_refused_before_anything_is_started(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "opened", lambda *_, **__: pytest.fail("a process was started"))
    for call in (cli_names.local, chain.plain):
        with pytest.raises(UsageError, match=r"Unknown protocol|is not spoken here") as caught:
            call(name)
        assert caught.value.path == name


DESCRIBED = [
    ({"host": "h"}, "nbd://h:10809/"),
    ({"host": "::1", "port": "99", "export": "a b"}, "nbd://[::1]:99/a%20b"),
    ({"path": "/s", "export": "e"}, "nbd+unix:///e?socket=/s"),
    ({"server.type": "unix", "server.path": "/s ock"}, "nbd+unix:///?socket=/s%20ock"),
    ({"server.type": "inet", "server.host": "h", "server.port": "1"}, "nbd://h:1/"),
]


@pytest.mark.parametrize("given,name", DESCRIBED)
def test_an_export_can_be_described(given: dict[str, str], name: str) -> None:
    flat = {"driver": "raw", "file.driver": "nbd", **{f"file.{key}": value for key, value in given.items()}}
    assert described.whole(flat, sources=True)[:3] == (name, "raw", {})
    with pytest.raises(UsageError):
        described.whole(flat)


@pytest.mark.parametrize(
    "given,said",
    [
        ({"driver": "nbd"}, "NBD server address missing"),
        ({"driver": "nbd", "host": "h", "path": "/x"}, "path and host may not be used at the same time"),
        ({"driver": "nbd", "host": "h", "foo": "1"}, "Block protocol 'nbd' doesn't support the option 'foo'"),
        ({"driver": "nbd", "host": "h", "server.type": "unix"}, "Parameter 'path' is missing"),
        ({"driver": "nbd", "server.type": "fd", "server.str": "x"}, "Parameter 'type' does not accept value 'fd'"),
        ({"driver": "http"}, "http block driver requires an 'url' option"),
        ({"driver": "http", "url": "https://x"}, "does not start with 'http://'"),
        ({"driver": "https", "url": "https://x", "sslverify": "off"}, "doesn't support the option 'sslverify'"),
    ],
)
def test_a_description_that_leads_nowhere_is_told(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        described.whole({f"file.{key}": value for key, value in given.items()}, sources=True)
    assert said in caught.value.message


def test_a_url_can_be_described() -> None:
    flat = {"file.driver": "https", "file.url": "https://h/x", "file.timeout": "30", "file.readahead": "64k"}
    assert described.whole(flat, sources=True)[:3] == ("https://h/x", None, {})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def forms(port: int) -> list[str]:
    """Every way in which an image could name something at the port."""
    place = f"127.0.0.1:{port}"
    plain = [f"{scheme}://{place}/x" for scheme in sorted(registry.sources())] + [
        f"nbd:{place}",
        f"nbd:{place}:exportname=x",
    ]
    nbd = f'"driver":"nbd","host":"127.0.0.1","port":"{port}"'
    web = f'"driver":"http","url":"http://{place}/x"'
    return [
        *plain,
        f"file:nbd://{place}/x",
        *(f'json:{{"driver":"raw","file":{{{node}}}}}' for node in (nbd, web)),
        *(f"json:{{{node}}}" for node in (nbd, web)),
        f'json:{{"driver":"raw","file":{{"driver":"file","filename":"nbd://{place}/x"}}}}',
        f'json:{{"driver":"raw","file.driver":"nbd","file.server.type":"inet","file.server.host":"127.0.0.1",'
        f'"file.server.port":"{port}"}}',
        f'json:{{"file":"nbd://{place}/x"}}',
        f'json:{{"driver":"qcow2","file":{{"filename":"x"}},"backing":{{"driver":"raw","file":{{{nbd}}}}}}}',
    ]


@pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")
@pytest.mark.parametrize("policy", ["default", "qemu"])
def test_no_name_in_an_image_leads_to_a_source(
    policy: str, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "opened", lambda *_, **__: pytest.fail("a process was started"))
    settings = Settings(sandbox="inline", policy=policy)
    Path("x").write_bytes(bytes(512))
    for number, name in enumerate(forms(listener.getsockname()[1])):
        image = f"image{number}"
        instar_core.create(
            image, format="qcow2", size=MIB, backing=name, backing_format="raw", unsafe_backing=True, settings=INSIDE
        )
        with pytest.raises(InstarError):
            instar_core.info(image, chain=True, settings=settings)
        with pytest.raises(InstarError):
            instar_core.convert([image], "copy", settings=settings)
        with pytest.raises(InstarError):
            list(instar_core.map(image, settings=settings))
        assert instar_core.info(image, settings=settings)[0].backing_filename == name
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.skipif("vmdk" not in registry.entries(), reason="instar-vmdk is not installed")
def test_an_extent_is_never_a_source(listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "opened", lambda *_, **__: pytest.fail("a process was started"))
    for name in forms(listener.getsockname()[1])[:-8]:
        image = tmp_path / "image.vmdk"
        image.write_text(
            '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
            f'RW 2048 FLAT "{name}" 0\n'
        )
        for policy in ("default", "qemu"):
            with pytest.raises(InstarError):
                instar_core.info(str(image), format="vmdk", settings=Settings(sandbox="inline", policy=policy))
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")
@pytest.mark.parametrize("prefix", ["toy:", "toy://"])
def test_nothing_lies_beside_a_source(
    plugin: Callable[..., None], prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name in an image that lies elsewhere means no file of this machine."""
    servers.need_fuse()
    plugin('name.partition(":")[2]', 'name.replace("//", "").partition(":")[2]')
    monkeypatch.chdir(tmp_path)
    Path("below").write_bytes(bytes(MIB))
    instar_core.create("top", format="qcow2", backing="below", backing_format="raw", size=MIB, settings=INSIDE)
    qemu = Settings(sandbox="process", policy="qemu")
    for settings in (INSIDE, qemu):
        with pytest.raises(InstarError, match="names a protocol; backing files must be plain files"):
            instar_core.info(f"{prefix}top", chain=True, settings=settings)
    instar_core.create(
        "data", format="qcow2", size=MIB, options={"data_file": "content", "data_file_raw": "on"}, settings=INSIDE
    )
    for settings in (INSIDE, qemu):
        with pytest.raises(InstarError, match="'content' lies beside a source"):
            list(instar_core.map(f"{prefix}data", settings=settings))


def test_the_plugin_of_the_documentation_works_and_every_word_of_its_interface_is_there(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "sources.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (points,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for member in (*SourceSpec._fields, *(name for name in vars(Backend) if not name.startswith("_"))):
        assert re.search(rf"^\| `{member}\b", text, re.MULTILINE), member
    (group, found), *_ = tomllib.loads(points)["project"]["entry-points"].items()
    assert (group, found) == (registry.SOURCES, {"split": "instar_split:SPEC"})
    space: dict[str, Any] = {}
    exec(code, space)
    (tmp_path / "b").write_bytes(b"second")
    (tmp_path / "a").write_bytes(b"first, ")
    opened = space["opened"](f"split:{tmp_path}", False)
    assert space["SPEC"].opener == "instar_split:opened"
    assert opened.read(0, opened.size) == b"first, second"
    assert opened.read(5, 4) == b", se"


def test_a_strangers_plugin_is_read_and_written(plugin: Callable[..., None], tmp_path: Path) -> None:
    servers.need_fuse()
    plugin()
    disk, source = tmp_path / "disk", tmp_path / "source"
    disk.write_bytes(b"o" * 2 * MIB)
    source.write_bytes(bytes(MIB // 2) + b"n" * (MIB // 2))
    name = f"toy:{disk}"
    instar_core.convert([str(source)], name, source_format="raw", target_format="raw", create=False, settings=INSIDE)
    assert disk.read_bytes() == source.read_bytes() + b"o" * MIB
    shown = instar_core.info(name, format="raw", settings=INSIDE)[0]
    assert (shown.filename, shown.children[0].driver, shown.image.virtual_size) == (name, "toy", 2 * MIB)


BROKEN = [
    ('SPEC = SourceSpec(("toy",)', 'SPEC = SourceSpec(("other",)', "it does not say that it speaks toy"),
    ('"A toy")', '"A toy", (1, 9))', "it needs version 1.9 of the API of source plugins; this instar has 1.0"),
    ('SPEC = SourceSpec(("toy",), "toysource:opened", "A toy")', "SPEC = 5", "something that is not a SourceSpec"),
    ("import Backend, SourceSpec", "import Backend, SourceSpec; 1 / 0", "ZeroDivisionError: division by zero"),
    ("    return Toy", "    import os; os._exit(0)\n    return Toy", "the process that serves the source has ended"),
    ("    return Toy", "    raise SystemExit\n    return Toy", "SystemExit"),
    ("    return Toy", "    return 5; Toy", "AttributeError"),
    ("self.file.seek(0, 2)", "-1", "the source claims to have -1 bytes"),
    ("self.file.seek(0, 2)", "1 << 64", "the source claims to have 18446744073709551616 bytes"),
]


@pytest.mark.parametrize("old,new,said", BROKEN, ids=[said for *_, said in BROKEN])
def test_a_plugin_that_is_broken_is_told(
    plugin: Callable[..., None], tmp_path: Path, old: str, new: str, said: str
) -> None:
    plugin(old, new)
    (tmp_path / "disk").write_bytes(bytes(512))
    with pytest.raises(InstarError) as caught:
        device.open_named(f"toy:{tmp_path}/disk")
    assert said in caught.value.message
    assert instar_core.info(str(tmp_path / "disk"), format="raw", settings=INSIDE)


def test_a_plugin_that_breaks_later_is_told(plugin: Callable[..., None], tmp_path: Path) -> None:
    servers.need_fuse()
    plugin("return self.file.read(length)", "raise KeyError('lost')")
    (tmp_path / "disk").write_bytes(bytes(512))
    with pytest.raises(InstarError) as caught:
        opened = device.open_named(f"toy:{tmp_path}/disk")
        try:
            os.pread(opened.descriptor, 512, 0)
        except OSError as error:
            raise DeviceError("reading failed") from error
        finally:
            opened.close()
    assert caught.value.hint == "KeyError: 'lost'"


def test_a_plugin_that_only_reads_is_not_written_to(plugin: Callable[..., None], tmp_path: Path) -> None:
    servers.need_fuse()
    plugin("self.writable = write", "pass")
    (tmp_path / "disk").write_bytes(bytes(512))
    with pytest.raises(InstarError, match="Could not open image: Permission denied"):
        device.open_named(f"toy:{tmp_path}/disk", write=True)


def test_a_protocol_that_two_distributions_claim_is_nobodys(plugin: Callable[..., None]) -> None:
    plugin()
    plugin(distribution="other")
    with pytest.raises(Unusable, match="two distributions claim the protocol toy: other and toysource"):
        chain.plain("toy:x")


def test_no_plugin_takes_the_names_of_files(plugin: Callable[..., None]) -> None:
    plugin('("toy",)', '("file", "json")', scheme="file")
    assert not names.is_source("file:x")
    assert chain.plain("file:x") == "x"
