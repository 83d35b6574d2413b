"""What a format session imports before its walls go up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import instar_core
from instar_core import registry
from instar_core.session import KINDS
from instar_core.settings import Settings
from instar_core.worker import format as worker

JAILED = Settings(sandbox="process")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A plugin that names other modules for every operation; the value of its entry point."""
    package = tmp_path / "picky"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from instar_core.types import FormatSpec\n"
        "SPEC = FormatSpec('picky', 'picky.hooks', preload={'info': ('picky.looking',), 'map': ('picky.mapping',),\n"
        "    'write': ('picky.all_writers',), 'write/resize': ('picky.resizing',), 'write/empty': ()})\n"
    )
    for name in ("hooks", "looking", "mapping", "all_writers", "resizing"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "picky:SPEC"


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ("info", {"looking"}),
        ("map", {"looking", "mapping"}),
        ("check", {"looking"}),
        ("write", {"looking", "all_writers"}),
        ("write/resize", {"looking", "resizing"}),
        ("write/empty", {"looking"}),
        ("write/amend", {"looking", "all_writers"}),
    ],
)
def test_an_operation_imports_what_the_plugin_names_for_it(plugin: str, operation: str, wanted: set[str]) -> None:
    try:
        worker.load("picky", plugin, operation)
        found = {name.partition(".")[2] for name in sys.modules if name.startswith("picky.")}
        assert found == wanted | {"hooks"}
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "picky"]:
            del sys.modules[name]


def test_a_single_request_takes_little_more_than_half_of_the_writers_of_qcow2_at_most() -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    spec = registry.spec("qcow2")
    counts = {}
    for operation in ("write", *[f"write/{kind}" for kind in KINDS.values()]):
        code = (
            "import sys; from instar_core.worker import format as worker\n"
            f"worker.load('qcow2', 'instar_qcow2:SPEC', {operation!r})\n"
            "print(sum(name.startswith('instar_qcow2.') for name in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        counts[operation] = int(done.stdout)
        assert operation in spec.preload
    whole = counts.pop("write")
    assert all(count < 0.6 * whole for count in counts.values()), (whole, counts)


def test_what_was_not_foreseen_takes_a_worker_that_is_ready_for_it(tmp_path: Path) -> None:
    """An image that was not closed cleanly is repaired, and one over another gets content, before it is resized."""
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    dirty = str(tmp_path / "dirty")
    instar_core.create(dirty, format="qcow2", size=1 << 20, options={"lazy_refcounts": "on"}, settings=JAILED)
    with open(dirty, "r+b") as file:
        file.seek(72)
        features = int.from_bytes(file.read(8), "big")
        file.seek(72)
        file.write((features | 1).to_bytes(8, "big"))
    assert instar_core.resize(dirty, 2 << 20, settings=JAILED) == 2 << 20
    below, above = str(tmp_path / "below"), str(tmp_path / "above")
    Path(below).write_bytes(b"below" * 200_000)
    backing = {"backing_file": "below", "backing_fmt": "raw", "size": "700416"}
    instar_core.create(above, format="qcow2", options=backing, settings=JAILED._replace(policy="qemu"))
    assert instar_core.resize(above, 1 << 20, settings=JAILED._replace(policy="qemu")) == 1 << 20
    with instar_core.open(above, settings=JAILED._replace(policy="qemu")) as disk:
        assert disk.pread(700416, 0) == Path(below).read_bytes()[:700416]
        assert not any(disk.pread((1 << 20) - 700416, 700416))
