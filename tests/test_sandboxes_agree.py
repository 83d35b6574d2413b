"""Where an image is parsed makes no difference to any answer: inline, in a jailed process, in a guest."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import instar_core
from instar_core import guests, registry
from instar_core.errors import InstarError, SandboxError
from instar_core.settings import Settings

MIB = 1 << 20
SIZE = 6 * MIB
SEED = 20260

Maker = Callable[[Path, str], str]


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
        instar_core.convert([source], path, source_format="raw", target_format=format, **more)  # type: ignore[arg-type]
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
    "qcow2 cut off in its header": lambda folder, source: cut(made("qcow2")(folder, source), 70),
}


def cut(path: str, size: int) -> str:
    with open(path, "r+b") as file:
        file.truncate(size)
    return path


def told(path: str, folder: Path, settings: Settings) -> list[object]:
    """Everything that the library says of an image: values, or what it refuses with."""
    format = "raw" if path.endswith(".raw") else None
    target = folder / "out.raw"

    def converted() -> str:
        instar_core.convert([path], str(target), source_format=format, target_format="raw", settings=settings)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    questions: list[Callable[[], object]] = [
        lambda: instar_core.info(path, format=format, chain=True, settings=settings),
        lambda: list(instar_core.map(path, format=format, settings=settings)),
        lambda: list(instar_core.map(path, format=format, start=MIB, length=2 * MIB, settings=settings)),
        lambda: instar_core.check(path, format=format, settings=settings),
        lambda: instar_core.measure(path, format=format, target_format="qcow2", settings=settings),
        converted,
        lambda: instar_core.compare(path, path, first_format=format, second_format=format, settings=settings),
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
    answers = {place: told(path, tmp_path, Settings(sandbox=place)) for place in ("inline", "process", "kvm")}
    assert answers["process"] == answers["inline"]
    assert answers["kvm"] == answers["inline"]
    if not name.startswith("qcow2 with") and "cut" not in name:
        assert hashlib.sha256(Path(source).read_bytes()).hexdigest() in answers["kvm"]


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
