"""What the documents name is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from instar_core import policy
from instar_core.cli import settings_load
from instar_core.spec import Capability, FormatSpec

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "instar_core": ROOT / "instar_core",
    "instar_sandbox": ROOT / "sandbox" / "src" / "instar_sandbox",
    **{f"instar_{path.name}": path / "src" / f"instar_{path.name}" for path in ROOT.glob("plugins/*")},
}


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("name", settings_load.READERS)
def test_every_setting_is_described_with_its_variable_and_option(name):
    variable = "INSTAR_" + name.upper().replace("-", "_")
    assert f"| `{name}` | `{variable}` | `--{name}` |" in text("docs/settings.md")


def test_every_policy_is_described():
    table = text("docs/settings.md").partition("## Image policies")[2]
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)))) >= set(
        policy.PRESETS
    )


def test_every_field_and_ability_of_a_specification_is_described():
    described = text("docs/plugins.md")
    assert [field for field in FormatSpec._fields if f"`{field}`" not in described] == []
    assert [name for name in vars(Capability) if name.isupper() and name not in described] == []


def test_the_map_of_modules_names_only_what_exists():
    package = None
    named = 0
    for line in text("ARCHITECTURE.md").partition("## Modules")[2].splitlines():
        if line.startswith("### "):
            first, _, rest = line[4:].partition("/")
            package = PACKAGES.get(first, ROOT / "missing") / rest
        elif line.startswith("| `") and package is not None:
            named += 1
            if package.is_dir():
                assert (package / f"{line.split('`')[1]}.py").exists(), line
    assert named > 100


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_its_license_and_is_typed(package):
    folder = PACKAGES[package]
    if not folder.is_dir():
        pytest.skip(f"{package} is not part of this copy")
    assert (folder / "py.typed").exists()
    project = folder.parent.parent if folder.parent.name == "src" else folder.parent
    assert (project / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_every_test_that_a_promise_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", text("SECURITY.md")))
    assert len(named) > 60
    folders = [
        ROOT / "tests",
        ROOT / "sandbox" / "tests",
        ROOT / "plugins" / "qcow2" / "tests",
        PACKAGES["instar_core"],
    ]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("this is a copy without the other distributions")
    there = set()
    for folder in folders:
        for path in folder.rglob("*.py"):
            there |= set(re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE))
    assert sorted(named - there) == []
