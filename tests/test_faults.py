"""A change that the operating system stops says so in one line, and leaves the image old or new."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from random import Random

import pytest

from instar_core.errors import InstarError
from instar_core.operations.resize import resize
from instar_core.settings import Settings
from instar_core.testing.beside import beside
from instar_core.testing.recorder import Recorder

SEED = 20261121
POINTS = 6
"""Steps of each change that fail, one at a time."""
INLINE = Settings(sandbox="inline", unsafe_quirks=True)


module = beside(__file__)
for _name in ("histories", *(f"crash_{each}" for each in ("cuts", "content", "images", "damage", "sealed", "writing"))):
    module(_name)
scenarios, cuts = module("crash_scenarios"), module("crash_cuts")
PAIRS = [pair for pair in scenarios.available() if "encrypted" not in pair[1]]
"""Encryption takes time and adds no step."""


@pytest.fixture(scope="module")
def tools():
    found = []
    for name, variable in (("qemu-img", "INSTAR_QEMU_IMG"), ("qemu-io", "INSTAR_QEMU_IO")):
        path = os.environ.get(variable) or shutil.which(name)
        if not path:
            pytest.skip(f"{name} is not installed")
        found.append(path)
    return scenarios.Tools(*found)


def prepared(format, operation, tools, folder):
    """The first case of the operation that instar does, done once."""
    for index in range(8):
        place = folder / str(index)
        (place / "case").mkdir(parents=True)
        random = Random(f"faults/{SEED}/{format}/{operation}/{index}")
        shop = scenarios.Workshop(place / "case", random, tools)
        try:
            case = scenarios.OPERATIONS[operation].make(shop, format)
            judge = cuts.Judge(case, place / "state", tools.img, random, f"{format} {operation} {index}")
            history = judge.done()
        except cuts.Missing:
            pytest.skip("instar cannot do this yet")
        except cuts.Refused:
            continue
        if any(step.what != "sync" for step in judge.steps):
            return judge, history, random
    raise AssertionError("instar refuses all of them")


@pytest.mark.oracle
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["broken", "full"])
@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_a_disk_that_fails_at_any_step_leaves_the_old_state_or_the_new(pair, code, tools, tmp_path):
    judge, history, random = prepared(*pair, tools, tmp_path)
    steps = [number for number, step in enumerate(judge.steps) if code == errno.EIO or step.what != "sync"]
    chosen = sorted({steps[0], steps[-1], *random.sample(steps, min(POINTS, len(steps)))})
    silent = []
    for number in chosen:
        said = judge.failing(history, number, code)
        assert said.count("\n") <= 1, said
        if judge.fired and os.strerror(code) not in said:
            silent.append((number, judge.steps[number], said))
    assert not judge.wrong, "\n".join(judge.wrong)
    # A repair says how many problems are left, not why: its command is asked for its code alone.
    if pair[1] != "repair all":
        assert not silent, f"not told: {silent}"


@pytest.mark.oracle
@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_a_file_whose_name_goes_away_meanwhile_is_changed_or_given_up_but_never_made_anew(pair, tools, tmp_path):
    judge, history, _ = prepared(*pair, tools, tmp_path)
    case = judge.case
    paths = [case.folder / name for name in case.watched]
    for path, disk in zip(paths, history.base, strict=True):
        cuts.store(disk, str(path))
    files = set(os.listdir(case.folder)) - set(case.watched)

    def gone(number, _):
        if not number:
            for path in paths:
                path.unlink(missing_ok=True)

    recorder = Recorder([str(path) for path in paths], gone)
    said = ""
    with recorder:
        try:
            case.operate()
        except (InstarError, cuts.Refused) as error:
            said = str(error)
            assert "internal error" not in said
    assert recorder.steps, said
    assert set(os.listdir(case.folder)) == files


@pytest.fixture
def small(tmp_path):
    """A file system of 2 MiB that can be filled."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("mode", ["falloc", "full"])
def test_a_full_file_system_is_told_and_the_disk_keeps_its_content(small, mode):
    content = os.urandom(1 << 20)
    (small / "disk").write_bytes(content)
    with pytest.raises(InstarError, match="No space left on device"):
        resize(str(small / "disk"), 16 << 20, preallocation=mode, format="raw", settings=INLINE)
    assert (small / "disk").read_bytes()[: 1 << 20] == content


@pytest.mark.oracle
def test_a_full_file_system_harms_no_qcow2_image(small, tools):
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    made = scenarios.Workshop(small, Random(1), tools)
    (small / module("crash_content").NOISE).unlink()
    made.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "disk", "64M")
    made.io(module("histories").Layer("disk", "qcow2", 64 << 20, node=("-f", "qcow2", "disk")), "write -P 9 0 256k")
    before = cuts.seen(small, cuts.View("disk", "qcow2"), INLINE)
    left = os.statvfs(small)
    (small / "ballast").write_bytes(bytes(left.f_bavail * left.f_frsize))
    code, said = cuts.command(small, "resize", "-f", "qcow2", "--preallocation=full", "disk", "65M")
    assert code == 1
    assert "No space left on device" in said
    assert said.count("\n") == 1
    assert cuts.seen(small, cuts.View("disk", "qcow2"), INLINE) == before
    assert made.img("check", "-q", "-f", "qcow2", "disk") == b""


def test_a_read_only_file_system_is_told_in_qemu_imgs_words(small):
    (small / "disk").write_bytes(bytes(1 << 20))
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    code, said = cuts.command(small, "resize", "-f", "raw", "disk", "2M", name="qemu-img")
    assert (code, said) == (1, "qemu-img: Could not open 'disk': Could not open 'disk': Read-only file system\n")
