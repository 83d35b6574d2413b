"""Installed formats are found without importing them, and one broken plugin harms nobody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from instar_core import registry
from instar_core.errors import NotInstalled, Unusable, UsageError


def distribution(folder: Path, name: str, points: dict[str, str], version: str = "1.0") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[instar.formats.v1]\n{lines}")


def plugin(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(body)


GOOD = 'from instar_core.types import FormatSpec\nSPEC = FormatSpec("{0}", "{1}")\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_an_entry_is_read_with_its_distribution_and_version(site: Path) -> None:
    distribution(site, "instar-One_Two", {"onetwo": "instar_onetwo:SPEC"}, "2.5")
    assert registry.entries()["onetwo"] == registry.Entry("onetwo", "instar_onetwo:SPEC", "instar-one-two", "2.5")


def test_raw_is_registered_like_any_other_format() -> None:
    assert registry.entries()["raw"].value == "instar_core.raw:SPEC"
    assert registry.spec("raw").name == "raw"


def test_a_format_that_two_distributions_claim_is_unusable_and_names_both(site: Path) -> None:
    distribution(site, "first", {"dup": "reg_dup:SPEC"})
    distribution(site, "second", {"dup": "reg_dup:SPEC"})
    with pytest.raises(Unusable, match="first and second"):
        registry.spec("dup")
    assert registry.spec("raw").name == "raw"


def test_the_same_distribution_twice_on_the_path_counts_once(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    distribution(site, "twice", {"twice": "reg_new:SPEC"}, "2")
    distribution(other, "twice", {"twice": "reg_old:SPEC"}, "1")
    monkeypatch.setattr(sys, "path", [str(site), str(other), *sys.path[1:]])
    assert registry.entries()["twice"].value == "reg_new:SPEC"
    assert not registry.entries()["twice"].reason


@pytest.mark.parametrize(
    "body,reason",
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("SPEC = 5", "not a FormatSpec"),
        ("", "AttributeError"),
        ('from instar_core.types import FormatSpec\nSPEC = FormatSpec("other", "x")', "calls its format other"),
        (
            'from instar_core.types import FormatSpec\nSPEC = FormatSpec("bad", "x", api=(1, 99))',
            r"^instar-bad cannot be used: it needs version 1\.99 of the plugin API; this instar has 1\.\d+: "
            "a newer instar is needed$",
        ),
        (
            'from instar_core.types import FormatSpec\nSPEC = FormatSpec("bad", "x", api=(7, 0))',
            r"^instar-bad cannot be used: it needs version 7\.0 of the plugin API; this instar has 1\.\d+: "
            "a newer instar is needed$",
        ),
        (
            'from instar_core.types import FormatSpec\nSPEC = FormatSpec("bad", "x", api=(0, 1))',
            r"^instar-bad cannot be used: it was built for version 0\.1 of the plugin API; this instar has 1\.\d+: "
            "a newer plugin is needed$",
        ),
        (
            'from instar_core.types import FormatSpec\nSPEC = FormatSpec("bad", "x", api="1.0")',
            "^instar-bad cannot be used: it states '1.0' as the version of the plugin API; that is two numbers$",
        ),
    ],
)
def test_a_broken_plugin_is_unusable_with_its_reason(site: Path, body: str, reason: str) -> None:
    module = f"reg_bad_{abs(hash(body))}"
    distribution(site, "instar-bad", {"bad": f"{module}:SPEC"})
    plugin(site, module, body)
    with pytest.raises(Unusable, match=reason) as caught:
        registry.spec("bad")
    assert "instar-bad" in caught.value.message
    listed = {entry.name: why for entry, _spec, why in registry.formats()}
    assert re.search(reason, listed["bad"])
    assert not listed["raw"]


def test_a_known_format_without_its_plugin_says_which_distribution_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "vhdx"
    there = {name: entry for name, entry in registry.entries().items() if name != absent}
    monkeypatch.setattr(registry, "entries", lambda: there)
    with pytest.raises(NotInstalled, match=f"instar-{absent}, which is not installed"):
        registry.spec(absent)


def test_an_unknown_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="Unknown file format 'nope'"):
        registry.spec("nope")


def test_the_fast_reading_equals_that_of_importlib_metadata(site: Path) -> None:
    distribution(site, "instar-good", {"good": "reg_good:SPEC"})
    distribution(site, "dup-a", {"dup2": "x:SPEC"})
    distribution(site, "dup-b", {"dup2": "y:SPEC"})
    fast, full = registry.combine(registry.scan(sys.path)), registry.full()
    assert {name: entry[1:4] for name, entry in fast.items() if not entry.reason} == {
        name: entry[1:4] for name, entry in full.items() if not entry.reason
    }
    assert {name: entry.reason for name, entry in fast.items()} == {name: entry.reason for name, entry in full.items()}


def test_reading_the_entries_imports_no_plugin() -> None:
    code = "import sys; from instar_core import registry; registry.entries(); print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    own = ("instar_core", "instar_sandbox")
    assert [m for m in got.stdout.split() if m.startswith("instar_") and m.split(".")[0] not in own] == []
