"""Where an image is parsed makes no difference to any answer: inline, in a jailed process, in a guest."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import instar_core
from instar_core import guests, registry
from instar_core.errors import InstarError, SandboxError
from instar_core.keyring import Keyring
from instar_core.settings import Settings
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")

MIB = 1 << 20
SIZE = 6 * MIB
SEED = 20260

Maker = Callable[[Path, str], str]

PLUGINS = Path(__file__).parents[1] / "plugins"
SECRET = Keyring({"s": b"passphrase"})
QUICK = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"}
AES = {"encrypt.format": "aes", "encrypt.key-secret": "s"}


@pytest.fixture(scope="module", autouse=True)
def _guest() -> None:
    try:
        guests.hold(name for name in guests.RECIPES if not guests.held(name))
    except SandboxError as error:
        pytest.skip(f"no guest here: {error}")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A raw disk: text that shrinks, noise that does not, and holes."""
    dice = random.Random(SEED)
    path = tmp_path_factory.mktemp("source") / "disk.raw"
    with open(path, "wb") as file:
        file.write(b"boot" * 128000)
        file.seek(2 * MIB)
        file.write(dice.randbytes(700_000))
        file.seek(5 * MIB)
        file.write(b"end " * 2000)
        file.truncate(SIZE)
    return str(path)


def made(format: str, **more: object) -> Maker:
    def make(folder: Path, source: str) -> str:
        if format not in registry.entries():
            pytest.skip(f"instar-{format} is not installed")
        path = str(folder / "image")
        given = {"source_format": "raw", "target_format": format, "settings": Settings(keyring=SECRET), **more}
        instar_core.convert([source], path, **given)  # type: ignore[arg-type]
        return path

    return make


def chained(folder: Path, source: str) -> str:
    made("qcow2")(folder, source)
    path = str(folder / "overlay")
    instar_core.create(path, format="qcow2", backing="image", backing_format="qcow2")
    return path


def broken(place: int, content: bytes) -> Maker:
    """A qcow2 image with some bytes overwritten."""

    def make(folder: Path, source: str) -> str:
        path = made("qcow2")(folder, source)
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(content)
        return path

    return make


def built(format: str, build: Callable[..., bytes], builder: str = "") -> Maker:
    """An image of a format that is only read, by the builder of its plugin's tests."""

    def make(folder: Path, source: str) -> str:
        name = builder or f"{format}_builder"
        module = PLUGINS / format / "tests" / f"{name}.py"
        if format not in registry.entries() or not module.exists():
            pytest.skip(f"instar-{format} is not installed, or its tests are not here")
        spec = importlib.util.spec_from_file_location(name, module)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        path = folder / f"image.{format}"
        path.write_bytes(build(loaded))
        return str(path)

    return make


def apple(make: Any) -> bytes:
    image = make.Image()
    image.partition("one", ("zlib", b"ab" * 256_000), ("zero", bytes(5120)), ("raw", b"raw!" * 256))
    made: bytes = image.partition("two", ("adc", b"abcabcabc" * 512 + bytes(512)), ("bzip2", b"z" * 51200)).build()
    return made


def second_luks(folder: Path, source: str) -> str:
    """A LUKS2 volume of cryptsetup."""
    program = shutil.which("cryptsetup") or shutil.which("/sbin/cryptsetup")
    if program is None or "luks" not in registry.entries():
        pytest.skip("cryptsetup or instar-luks is not installed")
    path = folder / "image.luks"
    with open(path, "wb") as file:
        file.truncate(18 * MIB)
    slots = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--sector-size", "4096")
    command = [program, "-q", "luksFormat", "--type", "luks2", *slots, str(path), "-"]
    subprocess.run(command, input=b"passphrase", check=True, capture_output=True)
    return str(path)


IMAGES: dict[str, Maker] = {
    "raw": lambda folder, source: source,
    "qcow2": made("qcow2"),
    "qcow2 of small clusters": made("qcow2", options={"cluster_size": "512"}),
    "qcow2 deflated": made("qcow2", compress=True),
    "qcow2 in zstd": made("qcow2", compress=True, options={"compression_type": "zstd"}),
    "qcow2 with subclusters": made("qcow2", options={"extended_l2": "on", "cluster_size": "128k"}),
    "qcow2 over another": chained,
    "vmdk": made("vmdk"),
    "vmdk stream": made("vmdk", options={"subformat": "streamOptimized"}),
    "vmdk flat": made("vmdk", options={"subformat": "monolithicFlat"}),
    "qcow2 with a wild table": broken(40, b"\xff" * 8),
    "qcow2 with huge clusters": broken(20, b"\0\0\0\x3f"),
    "qcow2 with leaks": broken(0x20000 + 40, b"\0\1\0\2\0\3"),
    "vhdx": made("vhdx", options={"block_size": "1M"}),
    "vhdx with a log to replay": built("vhdx", lambda make: make.dirty()[0]),
    "vhdx fixed": made("vhdx", options={"subformat": "fixed", "block_size": "1M"}),
    "vpc": made("vpc", options={"force_size": "on"}),
    "vpc fixed": made("vpc", options={"force_size": "on", "subformat": "fixed"}),
    "vdi": made("vdi"),
    "qed": made("qed"),
    "qcow": made("qcow"),
    "qcow deflated": made("qcow", compress=True),
    "qcow encrypted": made("qcow", options=AES),
    "parallels": made("parallels"),
    "luks": made("luks", options={"key-secret": "s", "iter-time": "1"}),
    "luks 2 built by cryptsetup": second_luks,
    "qcow2 encrypted": made("qcow2", options=QUICK),
    "qcow2 encrypted the old way": made("qcow2", options=AES),
    "bochs built": built("bochs", lambda make: make.build(MIB + 512, [0, 1, 2, 8, *range(64, 96), 2048])),
    "cloop built": built(
        "cloop", lambda make: make.build([bytes([number]) * 65536 for number in range(40)], size=65536)
    ),
    "iso built": built("iso", lambda make: make.image()),
    "dmg built": built("dmg", apple),
    "qcow2 cut off in its header": lambda folder, source: cut(made("qcow2")(folder, source), 70),
}


def cut(path: str, size: int) -> str:
    with open(path, "r+b") as file:
        file.truncate(size)
    return path


KEYS = {
    "luks": {"key-secret": "s"},
    "luks 2 built by cryptsetup": {"key-secret": "s"},
    "qcow encrypted": {"encrypt.key-secret": "s"},
    "qcow2 encrypted": {"encrypt.key-secret": "s"},
    "qcow2 encrypted the old way": {"encrypt.key-secret": "s"},
}
"""How the images that need a secret are opened."""


def told(path: str, folder: Path, settings: Settings, opened: dict[str, str] | None = None) -> list[object]:
    """Everything that the library says of an image: values, or what it refuses with."""
    format = "raw" if path.endswith(".raw") else None
    given: dict[str, Any] = {"format": format, "open_options": opened, "settings": settings}
    target = folder / "out.raw"

    def converted() -> str:
        instar_core.convert([path], str(target), source_format=format, open_options=opened, settings=settings)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    def same() -> object:
        options = {"first_options": opened, "second_options": opened}
        return instar_core.compare(path, path, first_format=format, second_format=format, settings=settings, **options)

    questions: list[Callable[[], object]] = [
        lambda: instar_core.info(path, chain=True, **given),
        lambda: list(instar_core.map(path, **given)),
        lambda: list(instar_core.map(path, start=MIB, length=2 * MIB, **given)),
        lambda: instar_core.check(path, **given),
        lambda: instar_core.measure(path, target_format="qcow2", **given),
        converted,
        same,
    ]
    answers: list[object] = []
    for question in questions:
        try:
            answers.append(question())
        except InstarError as error:
            answers.append((type(error).__name__, error.kind, error.offset, str(error)))
    return answers


@pytest.mark.parametrize("name", IMAGES)
def test_every_operation_answers_the_same_in_every_sandbox(name: str, source: str, tmp_path: Path) -> None:
    path = IMAGES[name](tmp_path, source)
    for file in (source, *filter(Path.is_file, tmp_path.iterdir())):
        with open(file, "rb") as written:
            os.fsync(written.fileno())  # what a file takes on the disk changes when the kernel writes it back
    answers = {
        place: told(path, tmp_path, Settings(sandbox=place, keyring=SECRET), KEYS.get(name))
        for place in ("inline", "process", "kvm")
    }
    assert answers["process"] == answers["inline"]
    assert answers["kvm"] == answers["inline"]
    if "built" in name or "log" in name:
        assert any(isinstance(answer, str) for answer in answers["kvm"]), "its content was read"
    elif not name.startswith("qcow2 with") and "cut" not in name:
        assert hashlib.sha256(Path(source).read_bytes()).hexdigest() in answers["kvm"]


@pytest.fixture
def published(source: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the disk at a web server of this machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    handler = functools.partial(Quiet, directory=os.path.dirname(source))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{os.path.basename(source)}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk"])
def test_what_lies_elsewhere_is_written_into_an_image_that_is_there_from_guests(
    format: str, source: str, published: str, tmp_path: Path
) -> None:
    servers.need_fuse()
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    settings = Settings(sandbox="kvm")
    with servers.qemu_nbd(tmp_path, Path(source), "-r", "-e", "8") as exported:
        for number, name in enumerate((exported, published)):
            target = str(tmp_path / f"target{number}")
            instar_core.create(target, format=format, size=SIZE, settings=settings)
            instar_core.convert(
                [name], target, source_format="raw", target_format=format, create=False, settings=settings
            )
            same = instar_core.compare(source, target, first_format="raw", second_format=format, settings=settings)
            assert same.identical, name


@pytest.mark.parametrize("place", ["spec", "hooks"])
def test_a_broken_plugin_is_left_out_of_guests_and_harms_nobody_else(
    source: str, tmp_path: Path, stranger: Callable[..., str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    damage = {"from instar_core.types import": "import no_such_module\nfrom instar_core.types import"}
    sound, broken = f"sound{place}", f"broken{place}"
    stranger(tmp_path, sound)
    stranger(tmp_path, broken, **{place: damage})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(guests, "_found", {})
    registry.forget()
    try:
        modules = guests.lean()
        assert f"instar_{sound}.hooks" in modules
        assert not [name for name in modules if name.startswith(f"instar_{broken}")]
        guests.hold([guests.LEAN])
        settings = Settings(sandbox="kvm")
        assert instar_core.info(source, format="raw", settings=settings)
        with pytest.raises(InstarError, match="ModuleNotFoundError"):
            instar_core.info(source, format=broken, settings=settings)
        with pytest.raises(InstarError) as caught:
            instar_core.info(source, format=sound, settings=settings)
        assert "ModuleNotFoundError" not in str(caught.value)
    finally:
        guests.forget()
        registry.forget()


def test_a_guest_is_asked_for_by_name_and_not_replaced_by_anything_less(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "_found", {guests.LEAN: (None, "nobody prepared it")})
    with pytest.raises(SandboxError, match="no platform: nobody prepared it"):
        instar_core.info(source, format="raw", settings=Settings(sandbox="kvm"))
    assert instar_core.info(source, format="raw", settings=Settings(sandbox="auto"))


def test_auto_means_a_guest_where_a_snapshot_is_at_hand(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import instar_sandbox

    asked = []
    real = instar_sandbox.start

    def start(platform: str, *arguments: object, **more: object) -> object:
        asked.append((platform, more.get("snapshot") is not None))
        return real(platform, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(instar_sandbox, "start", start)
    assert instar_core.info(source, format="raw", settings=Settings(sandbox="auto"))
    assert asked
    assert all(answer == ("auto", True) for answer in asked)
