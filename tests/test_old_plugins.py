"""Plugins that were built against each version of the plugin API work for ever, as the wheels that they were."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import instar_core
from instar_core.testing import foreign

HERE = Path(__file__).parent / "old_plugins"
WHEELS = sorted(HERE.glob("*/*.whl"))
OWN = ("reader", "split", "ledger")
"""Those whose sources stand beside the wheels."""
LAWS = """

class Test_{0}(FormatConformance):
    format = {0!r}
    disk_sizes = (512, 1_000_448)
    hostile_samples = 60
"""
CORPUS = """
    @pytest.fixture
    def corpus(self):
        return [("image", exercises.{}_image()[0])]
"""
"""For formats that are only read."""


def named(wheel: Path) -> str:
    """The format that the wheel is for."""
    return wheel.name.removeprefix("instar_").partition("-")[0]


each = pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: f"{wheel.parent.name}-{named(wheel)}")


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """For each wheel a folder that holds it as pip installs it: a wheel without scripts is a zip of just that."""
    made = {}
    for wheel in WHEELS:
        made[wheel] = tmp_path_factory.mktemp("site") / "site"
        zipfile.ZipFile(wheel).extractall(made[wheel])
    return made


def test_every_version_of_the_api_has_its_plugins():
    versions = tomllib.loads((HERE.parent / "contract.toml").read_text())
    assert {wheel.parent.name for wheel in WHEELS} == set(versions)
    kept = {version: {named(wheel) for wheel in WHEELS if wheel.parent.name == version} for version in versions}
    assert kept["1.0"] == {"toy", "reader", "split", "ledger", "bochs", "qed"}


@each
def test_pip_would_install_it_beside_this_instar(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist: ")]
    needs = [Requirement(line.removeprefix("Requires-Dist: ")) for line in lines]
    (need,) = [need for need in needs if need.name == "instar" and need.marker is None]
    assert need.specifier.contains(instar_core.__version__), f"{wheel.name} needs {need}"


@each
def test_the_registry_finds_it_and_it_fits(wheel, sites, path_with):
    name = named(wheel)
    code = f"from instar_core import registry; print(registry.entries()[{name!r}]); s = registry.spec({name!r})"
    code += "; import sys; print(s.name, *s.api, sys.modules[s.hooks.partition('.')[0]].__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=path_with(sites[wheel]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    entry, found = done.stdout.splitlines()
    assert f"distribution='instar-{name}'" in entry and "reason=''" in entry
    version = tuple(map(int, wheel.parent.name.split(".")))
    spec_name, major, minor, file = found.split()
    assert spec_name == name
    assert (1, 0) <= (int(major), int(minor)) <= version
    assert Path(file).is_relative_to(sites[wheel]), "another copy of the plugin was asked"


@each
def test_it_does_all_that_it_did(wheel, sites, path_with, tmp_path):
    environment = path_with(sites[wheel])
    environment["INSTAR_QEMU_IMG"] = foreign.qemu_img() or ""
    done = subprocess.run(
        [sys.executable, str(HERE / "exercises.py"), named(wheel)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


@pytest.mark.parametrize("version", sorted({wheel.parent.name for wheel in WHEELS}))
def test_they_keep_the_laws(version, sites, path_with, tmp_path):
    wheels = [wheel for wheel in WHEELS if wheel.parent.name == version]
    text = "import pytest\nfrom instar_core.testing import FormatConformance\nimport exercises\n"
    for name in map(named, wheels):
        text += LAWS.format(name)
        if f"def {name}_image" in (HERE / "exercises.py").read_text():
            text += CORPUS.format(name)
    (tmp_path / "test_old.py").write_text(text)
    environment = path_with(HERE)
    environment["PYTHONPATH"] = os.pathsep.join([*(str(sites[wheel]) for wheel in wheels), environment["PYTHONPATH"]])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "-k", "not kvm", "-rA", "--tb=short", "test_old.py"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    for name in map(named, wheels):
        assert f"PASSED test_old.py::Test_{name}::test_a_map_ascends_touches_and_covers" in done.stdout


@pytest.mark.parametrize("name", OWN)
def test_the_newest_wheel_holds_its_source(name):
    newest = max((wheel for wheel in WHEELS if named(wheel) == name), key=lambda wheel: wheel.parent.name)
    archive = zipfile.ZipFile(newest)
    source = HERE / name / "src"
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.py")}
    held = {entry: archive.read(entry) for entry in archive.namelist() if entry.endswith(".py")}
    assert held == files


@each
def test_it_names_no_place_on_anybodys_machine(wheel):
    archive = zipfile.ZipFile(wheel)
    for entry in archive.namelist():
        assert not entry.startswith(("/", "..")), entry
        text = archive.read(entry)
        for place in (b"/ho" + b"me/", b"/ro" + b"ot/", b"/wo" + b"rk/", b"/t" + b"mp/"):
            assert place not in text, (entry, place)
