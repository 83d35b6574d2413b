"""docs/plugins.md is the whole plugin API, its examples are files that are tested, and what it shows runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import instar_core.testing
from instar_core.spec import API
from instar_core.testing.beside import beside

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "plugins.md").read_text()
TOY = ROOT / "tests" / "toy"
OLD = ROOT / "tests" / "old_plugins"
LEDGER = OLD / "ledger" / "src" / "instar_ledger"
KIT = Path(instar_core.testing.__file__).parent

contract_code = beside(__file__)("contract_code")
CODE = contract_code.api()
PROSE = " ".join(re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL).split())
PLAIN = PROSE.replace("Kind.DATA", "0").replace("offset=NOWHERE", "offset=-1")
"""What stands for itself, with names in place of numbers undone."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def called(name: str, words: list[str]) -> str:
    """The call as one writes it."""
    mark = contract_code.BY_NAME
    placed = [word for word in words if not word.startswith(mark)]
    named = [word.removeprefix(mark) for word in words if word.startswith(mark)]
    listed = [*placed, *(["*", *named] if named else [])]
    return f"{name}({', '.join(listed)})".replace(" = ", "=").replace("'", '"')


@pytest.mark.parametrize("hook", CODE["hooks"])
def test_a_hook_has_a_chapter_with_its_arguments(hook):
    assert re.search(rf"^### `{re.escape(called(hook, CODE['hooks'][hook]))} -> ", TEXT, re.MULTILINE)


@pytest.mark.parametrize("record", CODE["records"])
def test_a_record_is_shown_with_its_fields_and_defaults(record):
    assert f"`{called(record, CODE['records'][record])}`" in PLAIN


def test_every_field_of_the_large_records_has_a_row():
    for record in ("FormatSpec", "Create", "Amend", "ImageInfo", "Extent", "Geometry"):
        after = TEXT[TEXT.index(f"`{record}(") :]
        table = re.search(r"^\| field \|.*?\n\n", after, re.MULTILINE | re.DOTALL)
        assert table
        rows = " ".join(line.split("|")[1] for line in table[0].splitlines() if line)
        lost = [word.partition(" ")[0] for word in CODE["records"][record]]
        if record in ("Create", "Amend"):
            lost = [word for word in lost if word not in ("time", "entropy")]  # said of all requests
        assert [word for word in lost if f"`{word}`" not in rows] == [], record


@pytest.mark.parametrize("name", [name for name in CODE["calls"] if not name.startswith("errors.")])
def test_a_tool_is_shown_with_its_arguments(name):
    words = CODE["calls"][name]
    last = name.rpartition(".")[2]
    if name == "hookspecs.hookimpl":
        assert "@hookimpl" in PROSE
    elif last == "__getitem__":
        assert f"`tally[{words[0]}]`" in PROSE
    else:
        assert f"`{called(last, words)}`" in PLAIN


def test_every_value_is_named():
    for kind, members in CODE["values"].items():
        for name in members:
            assert re.search(rf"`(\w+\.)*{name}`", PROSE), f"{kind}.{name}"
    rows = re.findall(r"^\| `([A-Z]+)` \|", TEXT.partition("### Capabilities")[2].partition("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(CODE["values"]["Capability"])


def test_every_limit_has_a_row():
    rows = " ".join(line.split("|")[1] for line in section("The limits").splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == set(CODE["limits"])


def test_every_module_that_a_plugin_may_import_is_named():
    for name in CODE["names"]["modules"]:
        assert f"`instar_core.{name}`" in PROSE
    listed = re.search(r"of the standard library\s+(.*?)\. Further", section("The sandbox"), re.DOTALL)
    assert listed
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == [
        name for name in CODE["kept"]["standard modules"] if name != "__future__"
    ]


def test_every_coding_and_file_option_is_named():
    for name in (*CODE["names"]["codings"], *CODE["names"]["file options"]):
        assert f"`{name}`" in PROSE


def test_every_part_of_the_kit_is_named():
    testing = section("Testing")
    for path in KIT.glob("[a-z]*.py"):
        assert f"`{path.stem}`" in testing, path.name
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert re.search(rf"`{node.name}\b", testing), f"{path.name}: {node.name}"
    for name in CODE["kept"]["kit"]:
        assert f"`{name}`" in testing


def test_the_version_is_that_of_the_code():
    assert f"reference of the plugin API, version {'.'.join(map(str, API))}." in PROSE


def test_the_complete_plugin_is_the_toy():
    specification, hooks, law, *_ = blocks("python")
    assert specification == (TOY / "src" / "instar_toy" / "__init__.py").read_text()
    assert hooks == (TOY / "src" / "instar_toy" / "hooks.py").read_text()
    assert law == (TOY / "tests" / "test_toy.py").read_text()
    assert blocks("toml") == [(TOY / "pyproject.toml").read_text()]


def test_the_change_in_place_is_that_of_the_ledger():
    _, _, _, *shown, _ = blocks("python")
    source = (LEDGER / "change.py").read_text()
    assert len(shown) == 2
    assert all(f"\n\n\n{part}" in source for part in shown)


def test_the_test_of_power_cuts_runs_and_tells_a_torn_disk(tmp_path, path_with):
    """Once as it is shown, once with a plugin that frees what the old state needs before the new one is current."""
    (wheel,) = OLD.glob("1.0/instar_ledger-*.whl")
    (tmp_path / "test_cut.py").write_text(blocks("python")[-1])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_cut.py"]
    for careless in (False, True):
        site = tmp_path / f"site{careless}"
        zipfile.ZipFile(wheel).extractall(site)
        change = site / "instar_ledger" / "change.py"
        right = "    yield from pages.puts(data, page.place)\n"
        assert right in change.read_text()
        if careless:
            change.write_text(change.read_text().replace(right, "    yield Punch(L.BLOCK, L.BLOCK)\n" + right))
        done = subprocess.run(
            [*command, f"--rootdir={tmp_path}"], env=dict(path_with(site), PYTHONDONTWRITEBYTECODE="1"),
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert ("1 failed" if careless else "1 passed") in done.stdout, done.stdout[-3000:]
