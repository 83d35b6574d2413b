"""Whoever writes to an image has it alone: instar against instar, and against the programs of QEMU."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time

import pytest

import instar_core
from instar_core import device as devices
from instar_core import locks
from instar_core.changing import Changing
from instar_core.cli.main import VERBS
from instar_core.errors import DeviceError
from instar_core.settings import Settings

SIZE = 1 << 20
ROUNDS = 12
WORKERS = 3
ENVIRONMENT = {**os.environ, "LC_ALL": "C", "INSTAR_UNSAFE_QUIRKS": "1", "INSTAR_IMAGE_POLICY": "qemu"}
COMMAND = (sys.executable, "-c", "import sys; from instar_core.cli.main import main; sys.exit(main(sys.argv[1:]))")
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)

WRITERS = {
    "resize": ("resize", "-f", "{f}", "disk", "+64k"),
    "amend": ("amend", "-f", "{f}", "-o", "lazy_refcounts=on", "disk"),
    "snapshot create": ("snapshot", "-f", "{f}", "-c", "new", "disk"),
    "snapshot delete": ("snapshot", "-f", "{f}", "-d", "old", "disk"),
    "snapshot apply": ("snapshot", "-f", "{f}", "-a", "old", "disk"),
    "bitmap": ("bitmap", "-f", "{f}", "--add", "disk", "b"),
    "rebase": ("rebase", "-f", "{f}", "-b", "", "disk"),
    "rebase unsafe": ("rebase", "-u", "-f", "{f}", "-b", "", "disk"),
    "commit": ("commit", "-f", "{f}", "disk"),
    "check": ("check", "-f", "{f}", "-r", "all", "disk"),
    "convert": ("convert", "-f", "raw", "-O", "{f}", "base", "disk"),
    "convert -n": ("convert", "-n", "-f", "raw", "-O", "{f}", "base", "disk"),
    "create": ("create", "-q", "-f", "{f}", "disk", "2M"),
    "dd": ("dd", "-f", "raw", "-O", "{f}", "if=base", "of=disk", "bs=64k"),
    "bench": ("bench", "-f", "{f}", "-w", "-c", "1", "disk"),
}
READERS = {
    "info": ("info", "-f", "{f}", "disk"),
    "map": ("map", "-f", "{f}", "disk"),
    "check": ("check", "-f", "{f}", "disk"),
    "compare": ("compare", "-f", "{f}", "-F", "{f}", "disk", "disk"),
    "convert": ("convert", "-f", "{f}", "-O", "raw", "disk", "copied"),
    "measure": ("measure", "-f", "{f}", "-O", "raw", "disk"),
    "snapshot": ("snapshot", "-f", "{f}", "-l", "disk"),
}
ONLY_QCOW2 = {"amend", "snapshot create", "snapshot delete", "snapshot apply", "bitmap", "rebase", "rebase unsafe"}
ONLY_QCOW2 |= {"commit", "check", "snapshot"}


def program(name, variable):
    path = os.environ.get(variable) or shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="module")
def img():
    path = program("qemu-img", "INSTAR_QEMU_IMG")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.split()
    if tuple(map(int, said[2].split(".")[:1])) < (11,):
        pytest.skip(f"{path} is {said[2]}; the words of 11.0 or newer are compared with")
    return path


def run(folder, *command):
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def ours(folder, *words):
    return run(folder, *COMMAND, "qemu-img", *words)


@pytest.fixture(params=["qcow2", "raw"])
def place(request, img, tmp_path):
    """A folder with an image in it, and its format."""
    if request.param == "qcow2":
        pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    (tmp_path / "base").write_bytes(b"base" * (SIZE // 4))
    if request.param == "raw":
        (tmp_path / "disk").write_bytes(b"disk" * (SIZE // 4))
    else:
        run(tmp_path, img, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "disk")
        run(tmp_path, img, "snapshot", "-c", "old", "disk")
    return tmp_path, request.param


def waited(process, text):
    """The process has printed the text."""
    held, until = b"", time.monotonic() + 30
    while text not in held:
        assert select.select([process.stdout], [], [], max(0, until - time.monotonic()))[0], held
        part = os.read(process.stdout.fileno(), 4096)
        assert part, f"it ended: {held}"
        held += part


class Holder:
    """A program of QEMU that has the image open for writing."""

    def __init__(self, kind, folder, format):
        self.kind = kind
        words = {
            "qemu-io": ("INSTAR_QEMU_IO", ["-f", format, "disk"], b"qemu-io>"),
            "qemu-nbd": ("INSTAR_QEMU_NBD", ["-f", format, "-k", str(folder / "socket"), "-t", "disk"], b""),
            "qemu-system-x86_64": (
                "INSTAR_QEMU_SYSTEM",
                [
                    *("-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"),
                    *("-blockdev", f"driver={format},node-name=d,file.driver=file,file.filename=disk"),
                ],
                b"(qemu)",
            ),
        }[kind]
        path = program(kind, words[0])
        self.process = subprocess.Popen(
            [path, *words[1]], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if words[2]:
            waited(self.process, words[2])
        else:
            until = time.monotonic() + 30
            while not (folder / "socket").exists():
                assert time.monotonic() < until
                assert self.process.poll() is None
                time.sleep(0.02)

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=["qemu-io", "qemu-nbd", "qemu-system-x86_64"])
def held(request, place):
    """The folder and the format, while somebody has the image."""
    if request.param == "qemu-system-x86_64" and place[1] == "raw":
        pytest.skip("a raw disk of a machine that has no device for it is shared")
    holder = Holder(request.param, *place)
    yield place
    holder.end()


def words_of(table, name, format):
    if format == "raw" and name in ONLY_QCOW2:
        pytest.skip("raw disks have nothing of the kind")
    if table[name][0] not in VERBS:
        pytest.skip("instar cannot do this yet")
    return [word.format(f=format) for word in table[name]]


@pytest.mark.oracle
@pytest.mark.parametrize("name", WRITERS)
def test_what_a_running_qemu_has_open_is_not_changed(held, img, name):
    folder, format = held
    words = words_of(WRITERS, name, format)
    before = [(folder / each).read_bytes() for each in ("disk", "base")]
    have = ours(folder, *words)
    assert [(folder / each).read_bytes() for each in ("disk", "base")] == before
    assert have[:2] == (1, "")
    assert have[2].endswith(" lock\nIs another process using the image [disk]?\n")
    want = run(folder, img, *words)
    if format == "qcow2" or want[0]:  # qemu-img lets some write to a raw disk that another writes to
        assert have == want


@pytest.mark.oracle
@pytest.mark.parametrize("name", READERS)
def test_what_a_running_qemu_has_open_is_read_as_qemu_img_reads_it(held, img, name):
    folder, format = held
    words = words_of(READERS, name, format)
    want, have = run(folder, img, *words), ours(folder, *words)
    if format == "raw" and have[0] and not want[0]:  # instar reads no raw disk while another writes to it
        assert have[2].endswith(" lock\nIs another process using the image [disk]?\n")
    else:
        assert have == want


@pytest.mark.oracle
@pytest.mark.parametrize("name", READERS)
def test_with_force_share_what_a_running_qemu_has_open_is_read(held, img, name):
    folder, format = held
    words = words_of(READERS, name, format)
    words.insert(1, "-U")
    want = run(folder, img, *words)
    assert want[0] == 0
    assert ours(folder, *words) == want


@pytest.mark.oracle
@pytest.mark.parametrize("target", ["nowhere/disk", "disk/disk"])
def test_an_output_of_dd_that_cannot_be_made_is_told_in_qemu_imgs_words(img, tmp_path, target):
    (tmp_path / "base").write_bytes(bytes(SIZE))
    (tmp_path / "disk").write_bytes(bytes(512))
    words = ("dd", "-f", "raw", "-O", "raw", "if=base", f"of={target}")
    want = run(tmp_path, img, *words)
    assert want[0] == 1
    assert ours(tmp_path, *words) == want


@pytest.mark.oracle
def test_what_instar_changes_is_not_changed_or_read_by_qemu(place, img):
    folder, format = place
    with Changing(str(folder / "disk"), INLINE, format=format):
        for words in (("resize", "-f", format, "disk", "+64k"), ("convert", "-f", format, "-O", "raw", "disk", "x")):
            code, _, err = run(folder, img, *words)
            assert code == 1
            assert "lock\nIs another process using the image [disk]?\n" in err
        assert run(folder, img, "map", "-U", "-f", format, "disk")[0] == 0
        assert ours(folder, "resize", "-f", format, "disk", "+64k")[0] == 1
    assert run(folder, img, "resize", "-q", "-f", format, "disk", "+64k")[0] == 0


def racing(folder, *words):
    """Several processes do the same at once, each until it succeeded ROUNDS times: how often any did, and the answers.

    Two that come in the same instant may both be refused, so none can be promised a turn: it waits and asks again.
    """
    script = (
        "import random, sys, time\n"
        "from instar_core.cli.main import main\n"
        "won = 0\n"
        f"while won < {ROUNDS}:\n"
        "    code = main([a.replace('NUMBER', sys.argv[1] + '-' + str(won)) for a in sys.argv[2:]])\n"
        "    print('CODE', code, flush=True)\n"
        "    won += code == 0\n"
        "    time.sleep(random.uniform(0.001, 0.02))\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number), "qemu-img", *words],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WORKERS)
    ]
    said = [process.communicate(timeout=300) for process in started]
    codes = [line for out, _ in said for line in out.splitlines() if line.startswith("CODE")]
    won = codes.count("CODE 0")
    assert won == ROUNDS * WORKERS
    assert codes.count("CODE 1") == len(codes) - won
    return len(codes) - won, [line for _, err in said for line in err.splitlines()]


def test_of_several_instars_that_resize_at_once_each_wins_or_is_told(tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    lost, told = racing(tmp_path, "resize", "-q", "-f", "raw", "disk", "+512")
    assert lost
    assert disk.stat().st_size == SIZE + 512 * ROUNDS * WORKERS
    assert len(told) == 2 * lost
    assert set(told) <= {
        "qemu-img: Could not open 'disk': Failed to get \"write\" lock",
        "qemu-img: Could not open 'disk': Failed to get shared \"write\" lock",
        "Is another process using the image [disk]?",
    }


@pytest.mark.oracle
def test_of_several_instars_that_make_snapshots_at_once_each_wins_or_is_told(img, tmp_path):
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    run(tmp_path, img, "create", "-q", "-f", "qcow2", "disk", "1M")
    lost, told = racing(tmp_path, "snapshot", "-f", "qcow2", "-c", "sNUMBER", "disk")
    assert lost
    listed = run(tmp_path, img, "snapshot", "-l", "disk")[1].splitlines()
    assert len(listed) - 2 == ROUNDS * WORKERS
    assert told.count("Is another process using the image [disk]?") == lost
    assert run(tmp_path, img, "check", "disk")[0] == 0


def test_the_locks_of_a_closed_file_are_gone_while_a_worker_still_has_its_descriptor(tmp_path):
    (tmp_path / "disk").write_bytes(bytes(SIZE))
    first = devices.open_named(str(tmp_path / "disk"))
    locks.take(first, locks.READ)
    late = os.dup(first.descriptor)
    try:
        second = devices.open_named(str(tmp_path / "disk"), write=True)
        with pytest.raises(DeviceError, match="lock"):
            locks.take(second, locks.CHANGE)
        locks.release(second)
        first.close()
        locks.take(second, locks.CHANGE)
        second.close()
    finally:
        os.close(late)


def test_in_a_pool_an_image_is_changed_as_soon_as_it_was_read(tmp_path):
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    disk = str(tmp_path / "disk")
    instar_core.create(disk, format="qcow2", size=SIZE, settings=INLINE)
    with instar_core.Pool(2, sandbox="process") as pool:
        for size in range(SIZE, 2 * SIZE, SIZE // 8):
            assert instar_core.info(disk, settings=pool.settings)[0].image.virtual_size == size
            assert instar_core.resize(disk, size + SIZE // 8, settings=pool.settings) == size + SIZE // 8
