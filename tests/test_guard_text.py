"""What the repository may not say, and what it must name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIP = {".git", "__pycache__", ".venv", "build", "dist", ".tox", "node_modules"}
CACHES = ("_cache", ".egg-info")
LOCK_FILES = {
    "poetry.lock",
    "Pipfile.lock",
    "pdm.lock",
    "uv.lock",
    "pylock.toml",
    "Cargo.lock",
    "package-lock.json",
    "yarn.lock",
    "requirements.lock",
}
# Put together here, so that this file does not say them either.
REGISTRIES = [
    f"{host}.{domain}"
    for host, domain in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "python.org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("anaconda", "org"),
        ("golang", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
    ]
]


def files():
    """Every file of the repository that is text."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if any(part in SKIP or part.endswith(CACHES) for part in parts) or not path.is_file():
            continue
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def plugins():
    """The names of the plugins' folders."""
    folder = ROOT / "plugins"
    return (
        sorted(path.name for path in folder.iterdir() if (path / "pyproject.toml").is_file()) if folder.is_dir() else []
    )


def test_no_file_names_the_host_of_a_package_registry():
    found = [(path, name) for path, text in files() for name in REGISTRIES if name in text]
    assert found == []


def test_there_is_no_lock_file():
    assert [path for path, _ in files() if path.name in LOCK_FILES] == []


def test_no_file_names_a_place_on_somebodys_machine():
    homes = ["/" + "work/", "/" + "root/", "/tmp/" + "golden"]
    magic = "/proc/self/ro" + "ot/"  # a name that tests of hostile images use
    found = [(path, home) for path, text in files() for home in homes if home in text.replace(magic, "")]
    assert found == []


@pytest.mark.parametrize("plugin", plugins())
def test_a_plugin_has_an_environment_of_tests(plugin):
    assert f"plugin-{plugin}" in (ROOT / "tox.ini").read_text()


@pytest.mark.parametrize("plugin", plugins())
def test_a_plugin_is_an_extra_and_part_of_all(plugin):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras[plugin][0].startswith(f"instar-{plugin}>=")
    everything = ",".join(extras["all"])
    assert plugin in everything.replace("[", ",").replace("]", ",").split(",")


@pytest.mark.parametrize("plugin", plugins())
def test_a_plugin_stands_in_the_table_of_the_readme(plugin):
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert any(f"instar-{plugin}" in row for row in rows)


@pytest.mark.parametrize("plugin", plugins())
def test_a_plugin_depends_on_a_range_of_instar_and_has_a_readme(plugin):
    folder = ROOT / "plugins" / plugin
    needs = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    instar = [need for need in needs if need.startswith("instar") and not need.startswith("instar-")]
    assert len(instar) == 1
    assert "==" not in instar[0]
    assert ">=" in instar[0]
    assert "<" in instar[0]
    assert len((folder / "README.md").read_text().splitlines()) > 3
