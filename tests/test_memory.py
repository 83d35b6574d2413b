"""Memory stays bounded whatever the size of an image: the sum of proportional set sizes over the process tree."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from instar_core import registry
from instar_core.testing.beside import beside

pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
pytest.importorskip("numpy", reason="numpy is not installed")
images = beside(__file__)("memory_images")

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BOUND = 150 * MIB
LONG = 100 * GIB
"""From this size on a command surely takes long enough to be looked at while its workers run."""
COMMAND = "import sys; from instar_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
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

    def __init__(self, folder, *words, name="qemu-img", program=COMMAND):
        self.peak, self.samples, self.processes = 0, 0, 0
        with open(folder / "out", "w+") as out:
            process = subprocess.Popen([sys.executable, "-c", program, name, *map(str, words)], stdout=out, stderr=out)
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


TIB = 1024 * GIB
SMALL = ("qcow2", "qed", "qcow", "parallels", "vmdk")
"""Formats whose units are not as large as 1 MiB: of 1 TiB they have 16 million, which take minutes one by one."""
SIZES = {
    **{(format, "scattered"): 256 * GIB for format in SMALL},
    **{("qcow", shape): 128 * GIB for shape in ("full", "scattered")},  # its tables are as large as qcow2's of 2 TiB
    **{("vpc", shape): 2040 * GIB for shape in ("full", "scattered")},  # as large as it can be
}
"""Sizes of disks that do not have 1 TiB."""
UNSHRINKABLE = ("qed", "qcow", "luks")
OWN = ("vmdk", "vhdx", "vpc")
"""Formats whose backing files are of the same format."""
TRUSTING = ("--image-policy", "qemu", "--unsafe-quirks")
SECRETS = ("--object", "secret,id=s,data=opensesame", "--object", "secret,id=t,data=barleysesame")
SHAPES = ("sparse", "full", "scattered")


def scattered_disk(path, size, count):
    """A raw disk with so many pieces of 64 KiB at random places."""
    choose = random.Random(7)
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(count):
            file.seek(choose.randrange(size // (64 * KIB)) * 64 * KIB)
            file.write(choose.randbytes(64 * KIB))


def made(folder, format, shape, name="disk", size=0):
    """An image of the format, and its size."""
    path, size = folder / name, size or SIZES.get((format, shape), TIB)
    if format == "raw":
        scattered_disk(path, size, 40)
    elif format == "luks":
        words = ("-q", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10", path, size)
        assert Run(folder, "create", *words, name="instar").code == 0
    elif shape == "sparse":
        img("create", "-q", "-f", format, path, size)
    else:
        images.make(QEMU_IMG, format, path, size, shape == "scattered")
    return path, size


def content(folder, format, shape):
    """New content everywhere; of an encrypted disk only at its start, as zeros are content there."""
    # A place that is punched for each of 16 million clusters takes half an hour.
    path, size = made(folder, format, shape, size=64 * GIB if shape == "scattered" and format in SMALL else 0)
    scattered_disk(folder / "new", 64 * MIB if format == "luks" else size, 40)
    if format == "luks":
        opened = f"driver=luks,key-secret=s,file.filename={path}"
        yield "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", folder / "new", opened
        return
    yield "convert", "-n", "-f", "raw", "-O", format, folder / "new", path
    scattered_disk(folder / "new", 16 * MIB, 40)
    yield "dd", "-n", "-f", "raw", "-O", format, "bs=1M", f"if={folder / 'new'}", f"of={path}"


def size(folder, format, shape):
    """The disk grows, and shrinks to half of it."""
    path, old = made(folder, format, shape)
    opened = (*SECRETS, "--image-opts", f"driver=luks,key-secret=s,file.filename={path}")
    words = opened if format == "luks" else ("-f", format, path)
    if shape == "sparse" or format not in ("vpc", "vdi"):  # as large as it can be; no room for a larger map
        yield "resize", *words, old + GIB
    if format not in UNSHRINKABLE:
        yield "resize", "--shrink", *words, old // 2


def features(folder, format, shape):
    """Refcounts, version and size of a qcow2 image; key slots."""
    path, old = made(folder, format, shape)
    if format == "luks":
        opened = f"driver=luks,key-secret=s,file.filename={path}"
        yield "amend", *SECRETS, "--image-opts", "-o", "state=active,new-secret=t,iter-time=10", opened
        return
    for option in ("refcount_bits=64", "refcount_bits=16", "compat=0.10", f"compat=1.1,size={old + GIB}"):
        yield "amend", "-f", "qcow2", "-o", option, path


def snapshots(folder, format, shape):
    path, _ = made(folder, format, shape)
    for option in ("-c", "-a", "-d"):
        yield "snapshot", option, "one", path


def bitmaps(folder, format, shape):
    """Bitmaps of a few MiB and of 32; the last is full of ones."""
    path, _ = made(folder, format, shape)
    for name, grain in (("coarse", "64k"), ("fine", "4k")):
        yield "bitmap", "--add", "-g", grain, path, name
    qemu_io = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
    subprocess.run([qemu_io, "-f", "qcow2", "-c", "discard 0 1G", path], check=True, capture_output=True)
    yield "bitmap", "--merge", "coarse", path, "fine"
    for option in ("--disable", "--clear", "--remove"):
        yield "bitmap", option, path, "fine"


def chains(folder, format, shape):
    """Another backing file, and a commit to it."""
    below = format if format in OWN else "raw"
    for name in ("base", "other"):
        if below == "raw":
            scattered_disk(folder / name, SIZES.get((format, shape), TIB), 40)
        else:
            made(folder, below, "sparse", name)
    if shape == "sparse" or format in OWN:
        words = ("-b", folder / "base", "-F", below, folder / "disk", TIB)
        run = Run(folder, "create", "-q", *TRUSTING, "-f", format, *words, name="instar")
        assert run.code == 0, run.out
    else:
        made(folder, format, shape)
        words = (*TRUSTING, "-f", format, "-b", folder / "base", "-F", below, folder / "disk")
        assert Run(folder, "rebase", "-u", *words, name="instar").code == 0
    yield "rebase", "-f", format, "-b", folder / "other", "-F", below, folder / "disk"
    yield "commit", "-f", format, folder / "disk"


def repairs(folder, format, shape):
    path, _ = made(folder, format, shape)
    with open(path, "r+b") as file:
        images.damage(file, format)
    yield "check", "-f", format, "-r", "all", path
    if format != "vpc":
        os.truncate(path, -(-os.path.getsize(path) // MIB) * MIB + 64 * MIB)
    yield "check", "-f", format, "-r", "leaks", path


CHANGES = {
    content: ("raw", "qcow2", "qed", "qcow", "vdi", "vhdx", "vpc", "parallels", "vmdk", "luks"),
    size: ("raw", "qcow2", "qed", "qcow", "vdi", "vhdx", "vpc", "parallels", "vmdk", "luks"),
    features: ("qcow2", "luks"),
    snapshots: ("qcow2",),
    bitmaps: ("qcow2",),
    chains: ("qcow2", "qed", "qcow", "vhdx", "vpc", "vmdk"),
    repairs: ("qcow2", "qed", "vdi", "vhdx", "vpc", "parallels", "vmdk"),
}
QUICK = (size, features, snapshots, bitmaps)
"""What takes no more than a moment."""


def cases():
    for change, formats in CHANGES.items():
        for format in formats:
            for shape in SHAPES[: 1 if format in ("raw", "luks") else None]:
                quick = shape == "sparse" and (change in QUICK or format == "qcow2")
                name = f"{change.__name__}-{format}-{shape}"
                yield pytest.param(change, format, shape, id=name, marks=() if quick else pytest.mark.long)


@pytest.mark.parametrize(("change", "format", "shape"), list(cases()))
def test_memory_is_bounded_while_a_large_image_is_changed(tmp_path, change, format, shape):
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    for words in change(tmp_path, format, shape):
        run = Run(tmp_path, words[0], *TRUSTING, *words[1:], name="instar")
        assert run.code == 0, run.out
        assert run.samples >= 1
        assert run.peak < BOUND
