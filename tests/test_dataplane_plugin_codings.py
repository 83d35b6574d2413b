"""Codings that the core lacks are decoded by the plugin's own hook, behind the walls of a codec worker."""

from __future__ import annotations

import bz2
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import instar_core
from instar_core import guests, owncodings, registry
from instar_core.codecs import PLUGIN
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError, NotInstalled, SandboxError
from instar_core.settings import Settings
from instar_core.types import Coding, ImageInfo

HOOKS = Path(__file__).with_name("lending_hooks.py")
SPEC = """
from instar_core.spec import FormatSpec, Signature

SPEC = FormatSpec(
    name="lending",
    hooks="instar_lending.hooks",
    signatures=(Signature(b"LENDING\\n"),),
    capabilities=frozenset({"read"}),
    preload={"decode": ("bz2", "no_such_library_at_all")},
)
"""
UNIT = 4096
DISK = random.Random(1).randbytes(7 * UNIT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin as an installed distribution."""
    folder = tmp_path_factory.mktemp("lending")
    (folder / "instar_lending").mkdir()
    (folder / "instar_lending" / "__init__.py").write_text(SPEC)
    (folder / "instar_lending" / "hooks.py").write_text(HOOKS.read_text())
    info = folder / "instar_lending-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instar-lending\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[instar.formats.v1]\nlending = instar_lending:SPEC\n")
    return folder


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin is installed, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(site))
    registry.forget()
    yield
    registry.forget()
    for name in [name for name in sys.modules if name.startswith(("instar_lending", "no_such_library"))]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def held(site: Path) -> Iterator[dict[str, Any]]:
    """Snapshots that are made with the plugin, for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guests, "_found", {})
        with pytest.MonkeyPatch.context() as path:  # undone at once: each test that comes undoes its own first
            path.syspath_prepend(str(site))
            registry.forget()
            try:
                guests.hold()
            except SandboxError as error:
                pytest.skip(f"no guests here: {error}")
        yield guests._found
        guests.forget()


@pytest.fixture(params=["inline", "process", "kvm"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Each sandbox."""
    if request.param == "kvm":
        monkeypatch.setattr(guests, "_found", request.getfixturevalue("held"))
    return Settings(sandbox=request.param)


@pytest.fixture
def image(tmp_path: Path) -> Callable[[str], str]:
    """Makes an image that says its pieces to be coded in this way."""

    def make(name: str) -> str:
        coded = {"bzip2": bz2.compress, "backwards": lambda piece: piece[::-1]}.get(name, bytes)
        pieces = [coded(DISK[at : at + UNIT]) for at in range(0, len(DISK), UNIT)]
        most = max(map(len, pieces))
        path = tmp_path / name
        header = b"LENDING\n" + name.encode().ljust(16) + len(pieces).to_bytes(4, "little") + most.to_bytes(4, "little")
        path.write_bytes(header + b"".join(piece.ljust(most, b"\0") for piece in pieces))
        return str(path)

    return make


def test_a_plugin_decodes_what_only_it_knows(image: Callable[[str], str], settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "raw"
    instar_core.convert([image("backwards")], str(target), settings=settings)
    assert target.read_bytes() == DISK
    with instar_core.open(image("backwards"), settings=settings) as disk:
        assert disk.pread(5000, 3000) == DISK[3000:8000]
    other = tmp_path / "other"
    other.write_bytes(DISK[:-1] + b"?")
    found = instar_core.compare(image("backwards"), str(other), second_format="raw", settings=settings)
    assert (found.reason, found.offset) == ("content", len(DISK) - 512)


def test_a_module_that_it_needs_is_there_behind_the_walls(
    image: Callable[[str], str], settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "raw"
    instar_core.convert([image("bzip2")], str(target), settings=settings)
    assert target.read_bytes() == DISK


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("longer", FormatError, f"error while reading at byte 0: compressed data is {UNIT + 1} bytes long, more than"),
        ("shorter", FormatError, "error while reading at byte 0: compressed data is too short"),
        ("broken", FormatError, "error while reading at byte 0: the piece?is broken"),
        ("text", ContractViolation, "instar_lending.hooks.instar_decode made a str, not bytes"),
        ("missing", NotInstalled, "lending needs no_such_library_at_all"),
    ],
)
def test_what_a_plugin_cannot_decode_is_one_clear_line(
    image: Callable[[str], str],
    settings: Settings,
    tmp_path: Path,
    name: str,
    kind: type[InstarError],
    message: str,
) -> None:
    with pytest.raises(kind) as caught:
        instar_core.convert([image(name)], str(tmp_path / "raw"), settings=settings)
    assert str(caught.value).startswith(message)
    assert type(caught.value) is kind
    if kind is NotInstalled:
        assert caught.value.hint == "install it?"
    assert not (tmp_path / "raw").exists()


def test_a_hook_that_opens_a_file_is_stopped(image: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="forbidden"):
        instar_core.convert([image("opening")], str(tmp_path / "raw"), settings=Settings(sandbox="process"))


def test_nobody_can_name_another_plugin_to_decode_for_him() -> None:
    info = ImageInfo("lending", 0, codings=(Coding("own", 512, params={"a": 1, PLUGIN: ("qcow2", "os:system")}),))
    assert owncodings.tied(info).codings[0].params == {"a": 1, PLUGIN: ("lending", "instar_lending:SPEC")}
    known = ImageInfo("lending", 0, codings=(Coding("zlib", 512, params={"level": 1}),))
    assert owncodings.tied(known) is known


def test_only_whole_pieces_are_decoded_by_plugins(image: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(ContractViolation, match="works by sectors"):
        instar_core.convert([image("sectors")], str(tmp_path / "raw"))


def test_info_shows_a_coding_as_its_plugin_does(image: Callable[[str], str]) -> None:
    (found,) = instar_core.info(image("anything"))
    assert found.image.codings[0].params[PLUGIN] == ("qcow2", "os:system"), "it is not yet tied to anyone"


def test_a_plugin_without_the_hook_is_an_unsupported_coding(
    image: Callable[[str], str], tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image("backwards")
    __import__("instar_lending.hooks")
    monkeypatch.delattr(sys.modules["instar_lending.hooks"], "instar_decode")
    with pytest.raises(FormatError, match="does not implement instar_decode") as caught:
        instar_core.convert([path], str(tmp_path / "raw"), settings=Settings(sandbox="inline"))
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_snapshots_for_codecs_hold_the_plugins_that_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = guests.recipe(guests.BULK, modules=True).modules
    assert {"instar_lending", "instar_lending.hooks", "bz2"} <= set(modules)
    assert "no_such_library_at_all" not in modules
    lean = guests.recipe(guests.LEAN, modules=True).modules
    assert "instar_lending.hooks" in lean, "what only decoding needs does not keep a plugin out of the other snapshot"
    assert "no_such_library_at_all" not in lean
    before = guests.recipe(guests.BULK).mark
    monkeypatch.setattr(registry, "entries", dict)
    assert guests.recipe(guests.BULK).mark != before
