"""Plugins of strangers: the toy format as a wheel, and variants of it that are broken in one way each."""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from instar_sandbox import NoPlatform
from instar_sandbox.kvm import place, prepare

from instar_core import guests, registry
from instar_core.testing.beside import beside

collect_ignore = ["toy"]
"""The toy is a distribution of its own: it is tested installed, by test_testing_toy.py."""

TOY = Path(__file__).parent / "toy"
MASKING = Path(__file__).parents[1] / "sandbox" / "tests" / "masking.py"
INSTALL = (
    "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
    "--disable-pip-version-check", "--root-user-action=ignore", "--target",
)  # fmt: skip


if os.environ.get("INSTAR_TEST_MASK"):  # before any test imports what is masked
    _spec = importlib.util.spec_from_file_location("sandbox_masking", MASKING)
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    _module.mask()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: commands are interrupted here
    signal.signal(signal.SIGINT, signal.default_int_handler)

Stranger = Callable[..., str]
Call = Callable[..., tuple[int, str, str]]
KEPT = ("INSTAR_TEST_MASK", "INSTAR_QEMU_IMG", "INSTAR_QEMU_IO")
"""Variables that say how to test, and set nothing."""

IN_GUESTS = os.environ.get("INSTAR_TEST_SANDBOX") == "kvm"
os.environ.setdefault("INSTAR_SANDBOX", "kvm" if IN_GUESTS else "process")


def pytest_unconfigure() -> None:
    """Whatever keeps the process from ending after its last test is shown, and does not."""
    faulthandler.dump_traceback_later(120, exit=True)


@pytest.fixture(scope="session", autouse=True)
def same_sandbox_everywhere() -> Iterator[None]:
    """What the tests call auto is a process, whether or not somebody prepared snapshots on this machine.

    Where INSTAR_TEST_SANDBOX says kvm it is a guest, of snapshots that are prepared for it and removed again.
    """
    if IN_GUESTS:
        try:
            kept = [prepare.prepare(guests.recipe(name, modules=True)) for name in guests.RECIPES]
        except NoPlatform as error:
            pytest.skip(f"no guest here: {error}")
        yield
        guests.forget()
        for path in kept:
            os.unlink(path)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "exists", lambda: False)
        yield


@pytest.fixture(scope="module", autouse=True)
def path_of_imports_is_left_as_found() -> Iterator[None]:
    """A folder of plugins that a module's tests leave on the path would be everybody's afterwards."""
    before = sys.path[:]
    yield
    left = [entry for entry in sys.path if entry not in before]
    sys.path[:] = before
    assert left == []


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder, which is empty, under the default settings."""
    for name in list(os.environ):
        if name.startswith("INSTAR_") and name not in KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("INSTAR_SANDBOX", "kvm" if IN_GUESTS else "process")
    folder = tmp_path / "vm"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def instar(alone: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls instar in an empty folder, under the name qemu-img or another one: exit code, output, errors."""
    from instar_core.cli.main import main

    def call(*words: str, name: str = "qemu-img") -> tuple[int, str, str]:
        code = main([name, *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Makes open files of a content and a size, which are closed after the test."""
    made: list[int] = []

    def make(content: bytes = b"", size: int | None = None) -> int:
        descriptor = os.open(tmp_path / f"f{len(made)}", os.O_RDWR | os.O_CREAT)
        made.append(descriptor)
        os.pwrite(descriptor, content, 0)
        if size is not None:
            os.ftruncate(descriptor, size)
        return descriptor

    yield make
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the toy's wheel was built and installed by pip, as anybody's plugin would be."""
    for tool in ("pip", "hatchling"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed here, so the toy's wheel cannot be built")
    site = tmp_path_factory.mktemp("toy") / "site"
    done = subprocess.run([sys.executable, *INSTALL, str(site), str(TOY)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="session")
def path_with() -> Callable[[Path], dict[str, str]]:
    """The environment of a fresh interpreter that sees what this one does, and first of all a folder."""

    def environment(site: Path) -> dict[str, str]:
        return dict(os.environ, PYTHONPATH=os.pathsep.join([str(site), *(path for path in sys.path if path)]))

    return environment


@pytest.fixture(scope="session")
def stranger() -> Stranger:
    """Writes a variant of the toy as an installed distribution into a folder, and returns its module's name.

    Arguments: the folder, the format's name, replacements in the specification and in the hooks, each a mapping of the
    old text to the new, and the distribution's name where it is not instar-NAME.
    """

    def write(
        site: Path,
        name: str,
        spec: dict[str, str] | None = None,
        hooks: dict[str, str] | None = None,
        distribution: str | None = None,
    ) -> str:
        distribution = distribution or f"instar-{name}"
        module = distribution.replace("-", "_")
        (site / module).mkdir(parents=True)
        for file, changes in (("__init__.py", spec or {}), ("hooks.py", hooks or {})):
            text = (TOY / "src" / "instar_toy" / file).read_text()
            for old, new in changes.items():
                assert old in text, f"{old!r} is not in the toy's {file}"
                text = text.replace(old, new)
            text = text.replace("instar_toy", module).replace('"toy"', f'"{name}"')
            (site / module / file).write_text(text)
        info = site / f"{module}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[instar.formats.v1]\n{name} = {module}:SPEC\n")
        return module

    return write


@pytest.fixture(scope="session")
def builder() -> ModuleType:
    """The module qcow2_builder. Skips where no plugin reads what it builds."""
    if "qcow2" not in registry.entries():
        pytest.skip("instar-qcow2 is not installed")
    return beside(__file__)("qcow2_builder")
