"""Every known trick that an image can play, played on the command as it is installed: instar, also called qemu-img.

tests/hostile holds the tricks, each with its expected outcome as data. For every question the exit code and the one
line of standard error are judged, the time and the memory it took, and what must not have happened: a file outside of
the image's folder opened (inotify tells) or shown (each holds a canary), and an output, or anything else, left behind.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instar_core import guests, registry
from instar_core.errors import SandboxError
from instar_core.signatures import KNOWN

HERE = Path(__file__).with_name("hostile")


def load(name):
    """A module of the folder `hostile`, which is a package without being on the path."""
    if "hostile" not in sys.modules:
        spec = importlib.machinery.ModuleSpec("hostile", None, is_package=True)
        spec.submodule_search_locations = [str(HERE)]
        sys.modules["hostile"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"hostile.{name}")


make, play, polyglots, case, outside, sources, watch = map(
    load, ("make", "play", "polyglots", "case", "outside", "sources", "watch")
)
WORKERS = min(4, len(os.sched_getaffinity(0)))
CHOSEN = {"fields": make.cases_fields.largest, "names": lambda: list(make.cases_names.cases())[::2]}
"""Of the two groups that are tables of everything with everything, an ordinary run plays a part."""

absent = sorted({known.format for known in KNOWN if known.distribution} - set(registry.entries()))
pytestmark = pytest.mark.skipif(bool(absent), reason=f"no plugin is installed for {', '.join(absent)}")


@pytest.fixture(scope="module", autouse=True)
def warm():
    """All that the command imports is imported, so that a fork need not."""
    import instar_sandbox

    import instar_core

    for package in (instar_core, instar_sandbox):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".testing" not in module.name:
                importlib.import_module(module.name)
    for format in set(registry.entries()) - {"raw"}:
        hooks = importlib.import_module(registry.spec(format).hooks)
        for module in pkgutil.iter_modules([os.path.dirname(str(hooks.__file__))], f"{hooks.__package__}."):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def wrong(found):
    """What went wrong, readable."""
    return "\n".join(f"{name}:\n    " + "\n    ".join(lines) for name, lines in found.items())


@pytest.mark.parametrize("group", make.GROUPS)
def test_a_known_trick_comes_to_what_is_expected(group, tmp_path):
    found = play.play_all(list(CHOSEN.get(group, make.GROUPS[group])()), tmp_path, WORKERS)
    assert not found, wrong(found)


@pytest.mark.long
@pytest.mark.parametrize("group", CHOSEN)
def test_every_combination_comes_to_what_is_expected(group, tmp_path):
    found = play.play_all(list(make.GROUPS[group]()), tmp_path, WORKERS)
    assert not found, wrong(found)


@pytest.mark.kvm
def test_in_a_guest_the_tricks_come_to_the_same(tmp_path, monkeypatch):
    try:
        guests.hold(name for name in guests.RECIPES if not guests.held(name))
    except SandboxError as error:
        pytest.skip(f"no guest here: {error}")
    monkeypatch.setenv("INSTAR_SANDBOX", "kvm")
    some = [each for each in make.corpus() if hash_of(each.name) == 0]
    assert len(some) > 30
    found = play.play_all(some, tmp_path, WORKERS)
    assert not found, wrong(found)


def hash_of(name):
    """A number below 29 for each name, the same in every run."""
    return sum(byte * (at + 1) for at, byte in enumerate(name.encode())) % 29


def test_names_of_cases_differ_and_every_source_is_known():
    cases = list(make.corpus())
    names = [each.name for each in cases]
    assert sorted(set(names)) == sorted(names)
    assert len(cases) > 1000
    mentioned = {cve for each in cases for cve in re.findall(r"CVE-\d+-\d+", each.source)}
    assert mentioned == set(sources.PLAYED)
    assert not mentioned & set(sources.NOT_APPLICABLE)
    assert all(each.asks for each in cases)
    assert set(make.observed.seen()) <= set(names)


def test_every_pair_of_formats_shares_a_file_or_has_a_reason_not_to():
    can, cannot = polyglots.pairs()
    formats = {known.format for known in polyglots.READ}
    assert formats == {known.format for known in KNOWN if known.format in registry.entries()} | set(absent)
    covered = {frozenset((one, other)) for one, _, other, _ in can} | {frozenset(pair) for pair in cannot}
    assert len(covered) == len(formats) * (len(formats) - 1) // 2
    assert all(polyglots.why_not(*pair).startswith("both want byte") for pair in cannot)
    assert not any(polyglots.why_not(one, other) for one, _, other, _ in can)


def test_what_is_watched_for_would_be_seen(tmp_path):
    """The judge itself: a file that is opened, shown, or left, a line, a code and a time that differ."""
    files = lambda _: {"x": b"", "link": case.Link("../outside/disk")}  # noqa: E731
    good = case.Case("n", "t", "s", files, (case.ask("info", "link", 0, "", ("file format: raw",)),), opened=("disk",))
    assert played(good, tmp_path / "good") == []
    assert any("opened disk" in text for text in played(good._replace(opened=()), tmp_path / "opened"))
    copied = good._replace(asks=(case.Ask(("convert", "-O", "raw", "link", "kept"), 0),))
    found = played(copied, tmp_path / "copied")
    assert any("shows what lies outside" in text for text in found)
    assert any("left ['kept'] behind" in text for text in found)
    other = good._replace(asks=(case.ask("info", "link", 1, "another line"),))
    found = played(other, tmp_path / "other")
    assert any("exit code 0, not 1" in text for text in found)
    assert any("another line" in text for text in found)
    assert any("took" in text for text in played(good._replace(seconds=0.0, memory=1), tmp_path / "slow"))


def played(one, folder):
    folder.mkdir()
    return play.play(one, folder)


def test_a_command_that_hangs_is_killed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    answer = play.command("instar", ("info", "--object", "secret,id=s,file=pipe", "x"), tmp_path, 1.0)
    assert (answer.code, time.monotonic() - began < 20) == (-9, True)


def test_opening_a_place_is_not_opening_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with watch.Watch([path]) as watched:
        os.close(os.open(path, os.O_PATH))
        assert watched.touched() == set()
        path.read_bytes()
        assert watched.touched() == {"file"}


def test_the_script_writes_the_corpus(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "make.py"), str(tmp_path / "corpus"), "loop: "],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads((tmp_path / "corpus" / "cases.json").read_text())
    assert len(listed) == len(list(make.GROUPS["loops"]())) == int(done.stdout.split()[0])
    for each in listed:
        assert (tmp_path / "corpus" / each["folder"] / "vm" / "x").is_file()
        assert each["asks"]
