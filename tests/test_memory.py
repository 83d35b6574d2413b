"""Memory stays bounded whatever the size of an image: the sum of proportional set sizes over the process tree."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time

import pytest

pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BOUND = 150 * MIB
LONG = 100 * GIB
"""From this size on a command surely takes long enough to be looked at while its workers run."""
COMMAND = "import sys; from instar_core.cli.main import main; sys.exit(main(['qemu-img', *sys.argv[1:]]))"
PAUSE = 0.02

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not QEMU_IMG, reason="qemu-img is not installed"),
    pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="there is no smaps_rollup here"),
]
sizes = pytest.mark.parametrize(
    "size", [pytest.param(8 * GIB, id="8 GiB"), pytest.param(1024 * GIB, id="1 TiB", marks=pytest.mark.long)]
)
copies = pytest.mark.parametrize(
    ("size", "data"),
    [
        pytest.param(4 * GIB, 40 * MIB, id="4 GiB"),
        pytest.param(100 * GIB, 300 * MIB, id="100 GiB", marks=pytest.mark.long),
    ],
)


def proportional(pid):
    """The process's proportional set size; its resident size, which is more, where it may not be known."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * KIB
    except PermissionError:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def tree(root):
    """The process and all its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


class Run:
    """A finished command: its output, the highest sum of its tree's memory, how often that was looked at."""

    def __init__(self, folder, *words, program=COMMAND):
        self.peak, self.samples, self.processes = 0, 0, 0
        with open(folder / "out", "w+") as out:
            process = subprocess.Popen([sys.executable, "-c", program, *map(str, words)], stdout=out, stderr=out)
            start = time.monotonic()
            while process.poll() is None:
                total, count = 0, 0
                for pid in tree(process.pid):
                    try:
                        total += proportional(pid)
                        count += 1
                    except (OSError, ProcessLookupError):
                        continue
                self.peak = max(self.peak, total)
                self.processes = max(self.processes, count)
                self.samples += 1
                time.sleep(PAUSE)
            out.seek(0)
            self.code, self.out = process.returncode, out.read()
        told = f"{self.peak / MIB:.0f} MiB at most, {self.processes} processes, {self.samples} samples"
        print(f"\n{' '.join(map(str, words))}: {told}, {time.monotonic() - start:.1f} s", flush=True)


def img(*words):
    done = subprocess.run([QEMU_IMG, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@sizes
def test_memory_is_bounded_for_an_image_whose_metadata_is_complete(tmp_path, size):
    image = tmp_path / "full.qcow2"
    img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", image, size)
    told = {}
    for words in (("info",), ("map", "--output=json"), ("check",)):
        run = Run(tmp_path, *words, image)
        assert run.code == 0, run.out
        assert run.samples >= 1
        assert run.processes > 1 or size < LONG, "the worker was not seen"
        assert run.peak < BOUND
        told[words[0]] = run.out
    assert told["map"] == img("map", "--output=json", image)
    assert f"{size // (64 * KIB)}/{size // (64 * KIB)} = 100.00% allocated" in told["check"]


@copies
def test_memory_is_bounded_for_the_conversion_of_a_large_sparse_disk(tmp_path, size, data):
    raw, image, back = tmp_path / "disk.raw", tmp_path / "disk.qcow2", tmp_path / "back.raw"
    choose = random.Random(5)
    with open(raw, "wb") as file:
        file.truncate(size)
        for _ in range(data // MIB):
            file.seek(choose.randrange(size // (64 * KIB) - 16) * 64 * KIB)
            file.write(choose.randbytes(MIB))
    for words in (("-f", "raw", "-O", "qcow2", raw, image), ("-f", "qcow2", "-O", "raw", image, back)):
        run = Run(tmp_path, "convert", *words)
        assert run.code == 0, run.out
        assert run.samples >= 1
        assert run.processes > 1 or size < LONG, "the worker was not seen"
        assert run.peak < BOUND
    assert "No errors" in img("check", image)
    assert "identical" in img("compare", "-f", "raw", "-F", "qcow2", raw, image)
    assert "identical" in img("compare", "-f", "raw", "-F", "raw", raw, back)


def test_the_measure_sees_memory_that_a_child_uses(tmp_path):
    child = "import time; a = bytearray(b'x' * (40 << 20)); time.sleep(0.5)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    run = Run(tmp_path, program=program)
    assert run.peak > 40 * MIB
    assert run.processes == 2
