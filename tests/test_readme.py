"""What the README says works: its commands on the sample, its Python, and the plugin that it shows."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import instar_core as instar
from instar_core import registry
from instar_core.cli.main import OWN, VERBS

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "docs" / "sample"
README = (ROOT / "README.md").read_text()
CONTENT = re.findall(r"`([0-9a-f]{64})`", (SAMPLE / "README.md").read_text())[0]

needs_both = pytest.mark.skipif(
    not {"qcow2", "vmdk"} <= registry.entries().keys(), reason="instar-qcow2 or instar-vmdk is not installed"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def environment() -> dict[str, str]:
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from instar_core.cli.main import main; sys.exit(main({words!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def checkout(folder: Path) -> Path:
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


def test_two_commands_do_all_the_set_up():
    first, second = (block.strip() for block in blocks("sh")[:2])
    assert "\n" not in first + second
    assert 'pip install ".[all]" ./sandbox ./plugins/*' in first
    assert first.count("pip install") == 1
    assert "tox run" in second


@needs_both
def test_the_first_command_converts_the_sample(tmp_path):
    steps = [shlex.split(step) for step in blocks("sh")[0].split(" && ")]
    calls = [["instar", *words[1:]] for words in steps if words[0] == ".venv/bin/instar"]
    assert [words[1] for words in calls] == ["info", "convert", "map"]
    folder = checkout(tmp_path)
    for words in calls:
        done = run(words, folder)
        assert (done.returncode, done.stderr) == (0, ""), words
    with instar.open(str(folder / "hello.qcow2")) as disk:
        content = disk.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (4 << 20, CONTENT)
    assert b"Hello from inside a virtual machine disk.\n" in content


@needs_both
def test_the_python_example_prints_what_is_true(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        cwd=checkout(tmp_path), env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "vmdk 4194304"
    assert lines[1:5] == ["0 65536 data", "65536 983040 zeros", "1048576 65536 data", "1114112 3080192 zeros"]
    assert lines[5] == "55aa"
    assert lines[6].startswith("refused no format claims it")
    assert not (tmp_path / "never.qcow2").exists()


def test_the_plugin_shown_is_the_toy():
    toy = ROOT / "tests" / "toy"
    _, hooks, spec, kit = blocks("python")
    assert hooks == "# src/instar_toy/hooks.py\n" + (toy / "src" / "instar_toy" / "hooks.py").read_text()
    assert spec == (toy / "src" / "instar_toy" / "__init__.py").read_text()
    assert kit == (toy / "tests" / "test_toy.py").read_text()
    assert blocks("toml")[0].strip() in (toy / "pyproject.toml").read_text()


def test_every_command_is_named():
    rows = " ".join(line.split("|")[1] for line in README.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == {*VERBS, *OWN}


def test_every_link_leads_somewhere():
    for text, folder in ((README, ROOT), *((path.read_text(), path.parent) for path in ROOT.glob("docs/*.md"))):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if target.startswith("http"):
                continue
            path = Path(os.path.normpath(folder / target))
            if path.relative_to(ROOT).parts[0] in os.listdir(ROOT):
                assert path.exists(), target


def test_the_checks_before_a_change_run_both_commands():
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("this copy has no .ci")
    assert '"$(readme 1)"' in script.read_text()
    assert '"$(readme 2)"' in script.read_text()
