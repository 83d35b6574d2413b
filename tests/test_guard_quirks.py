"""docs/quirks.toml lists every deliberate difference from qemu-img, and nothing that is not proved."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "quirks.toml"
FIELDS = {"name", "case", "category", "switch", "test"}
CATEGORIES = {"safety", "qemu bug", "environment"}
SWITCHES = {
    "-S 4k",
    "-f raw",
    "--unsafe-quirks",
    "--image-policy qemu",
    "--ignore-quirks",
    "--output=json",
    "called qemu-img",
    "-U",
}
MENTION = re.compile(r'quirk\("([^"]+)"\)')

QUIRKS = tomllib.loads(FILE.read_text())["quirk"]


def test_sources():
    """Files of tests, this one left out."""
    for folder in ("tests", "sandbox/tests", "plugins"):
        for path in sorted((ROOT / folder).rglob("test_*.py")):
            if path != Path(__file__):
                yield path


test_sources.__test__ = False


def source_of(path, name):
    """The source of a test function, or None where there is none of the name."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
    return None


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.get("name", "nameless"))
def test_an_entry_is_complete_and_names_a_test_that_proves_it(quirk):
    assert quirk.keys() - {"crash", "no_switch"} == FIELDS
    assert quirk["category"] in CATEGORIES
    if quirk["switch"]:
        assert quirk["switch"] in SWITCHES
        assert not quirk.keys() & {"crash", "no_switch"}, "it has a switch, so nothing excuses its lack"
    else:
        assert quirk.get("crash") is True or len(quirk["no_switch"]) > 20, "why is there no switch?"
    file, _, name = quirk["test"].partition("::")
    path = ROOT / file
    if file.startswith("plugins/") and not (ROOT / "plugins").is_dir():
        pytest.skip("the plugins' tests are not here")
    assert path.is_file(), "the file of the test is gone"
    source = source_of(path, name)
    assert source is not None, "the test is gone"
    assert quirk["name"] in MENTION.findall(source), "the test no longer speaks of this quirk: the entry is unused"


def test_names_are_unique():
    names = [quirk["name"] for quirk in QUIRKS]
    assert len(names) == len(set(names))


def test_every_quirk_that_a_test_speaks_of_is_listed():
    listed = {quirk["name"] for quirk in QUIRKS}
    for path in test_sources():
        assert set(MENTION.findall(path.read_text())) <= listed, path
