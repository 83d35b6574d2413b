"""The commands as users and platforms call them: instar, and instar under the name qemu-img."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instar_core import registry
from instar_core.cli.main import VERBS
from instar_core.operations.check import UNCHECKED_BY_QEMU
from instar_core.operations.measure import MEASURED_BY_QEMU

MIB = 1 << 20
CONTENT = b"".join(bytes([number]) * 4096 for number in range(1, 200)) + bytes(25 * 4096) + b"tail".ljust(512, b"\0")
FORMATS = ("raw", "qcow2", "vmdk")
WRITABLE = (*FORMATS, "vhdx", "vpc", "vdi", "qed", "qcow", "parallels")
UNOPENED = "Could not open backing image.\n"
SCRIPT = f"#!{sys.executable}\nfrom instar_core.cli.main import command\n\ncommand()\n"


class Commands:
    """Runs instar, and by a symbolic link qemu-img, in a folder, as nobody's settings would have it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.env = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "XDG_CONFIG_HOME": str(folder / "nowhere"),
        }

    def start(self, *words: str, **more: object) -> subprocess.Popen[bytes]:
        command = [str(self.programs / words[0]) if words[0] in ("instar", "qemu-img") else words[0], *words[1:]]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
        )  # type: ignore[call-overload, no-any-return]

    def run(self, *words: str, **more: object) -> tuple[int, str, str]:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(), err.decode()

    def good(self, *words: str) -> str:
        """The standard output of a command that succeeds and says nothing else."""
        code, out, err = self.run(*words)
        assert (code, err) == (0, ""), (words, code, err)
        return out

    def bad(self, *words: str, code: int = 1) -> str:
        """The standard error of a command that fails, and prints nothing else."""
        found, out, err = self.run(*words)
        assert (found, out) == (code, ""), (words, found, out, err)
        return err


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command under both names: the installed script, or what it would be."""
    folder = tmp_path_factory.mktemp("bin")
    installed = Path(sys.executable).with_name("instar")
    if installed.exists():
        (folder / "instar").symlink_to(installed)
    else:
        (folder / "instar").write_text(SCRIPT)
        (folder / "instar").chmod(0o755)
    (folder / "qemu-img").symlink_to("instar")
    return folder


@pytest.fixture
def c(tmp_path: Path, programs: Path) -> Commands:
    (tmp_path / "source").write_bytes(CONTENT)
    return Commands(tmp_path, programs)


def needs(format: str) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")


@pytest.mark.parametrize("name", ["instar", "qemu-img"])
@pytest.mark.parametrize("format", WRITABLE)
def test_every_verb_works_under_both_names(c: Commands, format: str, name: str) -> None:
    needs(format)
    assert c.good(name, "convert", "-f", "raw", "-O", format, "source", "image") == ""
    assert f"file format: {format}" in c.good(name, "info", "-f", format, "image")
    told = json.loads(c.good(name, "info", "-f", format, "--output=json", "image"))
    size = told["virtual-size"]
    assert (size == len(CONTENT) or (format == "vpc" and size > len(CONTENT))) and told["filename"] == "image"
    mapped = json.loads(c.good(name, "map", "-f", format, "--output=json", "image"))
    assert sum(each["length"] for each in mapped) == size
    assert "identical" in c.good(name, "compare", "-f", "raw", "-F", format, "source", "image")
    assert c.good(name, "convert", "-f", format, "image", "back") == ""
    assert (c.folder / "back").read_bytes() == CONTENT.ljust(size, b"\0")
    assert c.good(name, "create", "-f", format, "new", "1M").startswith(f"Formatting 'new', fmt={format} ")
    assert c.good(name, "create", "-q", "-f", format, "new", "1M") == ""
    if format == "raw" or (name == "qemu-img" and format in UNCHECKED_BY_QEMU):
        assert c.bad(name, "check", "-f", format, "image", code=63).endswith("does not support checks\n")
    else:
        assert "No errors were found" in c.good(name, "check", "-f", format, "image")
    measure = (name, "measure", "--output=json", "-f", "raw", "-O", format, "source")
    if name == "instar" or format in MEASURED_BY_QEMU:
        measured = json.loads(c.good(*measure))
        assert measured["required"] >= (c.folder / "image").stat().st_size >= len(CONTENT) - 25 * 4096
    else:
        assert c.bad(*measure).endswith(f"Block driver '{format}' does not support size measurement\n")
    if format == "qcow2":
        for words in (("-c", "one"), ("-l",), ("-d", "one")):
            assert ("one" in c.good(name, "snapshot", *words, "image")) == (words == ("-l",))


@pytest.mark.parametrize("name", ["instar", "qemu-img"])
@pytest.mark.parametrize(("format", "prefix"), [("luks", ""), ("qcow2", "encrypt.")])
def test_encrypted_images_are_made_read_and_given_further_passphrases(
    c: Commands, format: str, prefix: str, name: str
) -> None:
    needs(format)
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    (c.folder / "first").write_text("the first")
    secrets = ("--object", "secret,id=a,file=first", "--object", "secret,id=b,data=the second")
    options = f"{prefix}key-secret=a,{prefix}iter-time=10" + (",encrypt.format=luks" if prefix else "")
    c.good(name, "convert", *secrets, "-f", "raw", "-O", format, "-o", options, "source", "image")
    assert "encrypted: yes" in c.good(name, "info", "image")

    def opened(secret: str) -> tuple[str, ...]:
        return (*secrets, "--image-opts", f"driver={format},{prefix}key-secret={secret},file.filename=image")

    c.good(name, "convert", *opened("a"), "-O", "raw", "back")
    assert (c.folder / "back").read_bytes() == CONTENT
    refused = c.bad(name, "convert", *opened("b"), "-O", "raw", "other")
    assert refused.endswith("Invalid password, cannot unlock any keyslot\n")
    add = f"{prefix}state=active,{prefix}new-secret=b,{prefix}iter-time=10"
    assert c.good(name, "amend", *opened("a"), "-o", add) == ""
    c.good(name, "convert", *opened("b"), "-O", "raw", "other")
    assert (c.folder / "other").read_bytes() == CONTENT
    assert c.good(name, "amend", *opened("b"), "-o", f"{prefix}state=inactive,{prefix}old-secret=a") == ""
    assert c.bad(name, "convert", *opened("a"), "-O", "raw", "gone").endswith("cannot unlock any keyslot\n")
    lone = c.bad(name, "amend", *opened("b"), "-o", f"{prefix}state=inactive,{prefix}keyslot=1")
    assert "refusing operation" in lone
    measured = json.loads(
        c.good(name, "measure", *secrets, "--output=json", "-f", "raw", "-O", format, "-o", options, "source")
    )
    assert measured["required"] >= (c.folder / "image").stat().st_size - 25 * 4096


@pytest.mark.parametrize("name", ["instar", "qemu-img"])
def test_an_image_is_changed_in_place_under_both_names(c: Commands, name: str) -> None:
    needs("qcow2")
    size = len(CONTENT)
    content = c.folder / "content"

    def read() -> bytes:
        c.good(name, "convert", "-f", "qcow2", "-O", "raw", "over", "content")
        return content.read_bytes()

    c.good(name, "convert", "-f", "raw", "-O", "qcow2", "source", "base")
    c.good(name, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "over")
    assert c.good(name, "resize", "over", "+1M") == "Image resized.\n"
    assert read() == CONTENT + bytes(1 << 20)
    c.good(name, "snapshot", "-c", "one", "over")
    assert c.good(name, "bench", "-w", "-c", "3", "-s", "64k", "--pattern", "65", "over").startswith("Sending 3 write")
    assert read()[: 3 << 16] == b"A" * (3 << 16)
    c.good(name, "snapshot", "-a", "one", "over")
    assert read() == CONTENT + bytes(1 << 20)
    c.good(name, "snapshot", "-d", "one", "over")
    assert c.good(name, "bitmap", "--add", "-g", "4k", "over", "b") == ""
    bitmaps = json.loads(c.good(name, "info", "--output=json", "over"))["format-specific"]["data"]["bitmaps"]
    assert bitmaps == [{"flags": ["auto"], "name": "b", "granularity": 4096}]
    assert c.good(name, "bitmap", "--remove", "over", "b") == ""
    assert c.good(name, "amend", "-o", "lazy_refcounts=on", "over") == ""
    assert "lazy refcounts: true" in c.good(name, "info", "over")
    c.good(name, "create", "-q", "-f", "qcow2", "other", str(size))
    assert c.good(name, "rebase", "-b", "other", "-F", "qcow2", "over") == ""
    assert read() == CONTENT + bytes(1 << 20)
    assert c.good(name, "commit", "over") == "Image committed.\n"
    assert read() == CONTENT + bytes(1 << 20)
    assert c.good(name, "dd", "-f", "qcow2", "bs=1k", "count=9", "skip=2", "if=other", "of=part") == ""
    assert (c.folder / "part").read_bytes() == CONTENT[2048:9216]
    for image in ("over", "other", "base"):
        assert "No errors were found" in c.good(name, "check", "-r", "all", image)


def test_every_verb_is_in_the_tests_above() -> None:
    reading = {"check", "compare", "convert", "create", "info", "map", "measure"}
    assert set(VERBS) == reading | {"amend", "bench", "bitmap", "commit", "dd", "rebase", "resize", "snapshot"}


@pytest.mark.parametrize("format", FORMATS)
def test_the_limits_of_openstack_are_enough(c: Commands, format: str) -> None:
    needs(format)
    prlimit = shutil.which("prlimit")
    if not prlimit:
        pytest.skip("prlimit is not installed")
    limits = (prlimit, "--as=1073741824", "--cpu=2", str(c.programs / "qemu-img"))
    c.good("instar", "convert", "-f", "raw", "-O", format, "source", "image")
    out = c.good(*limits, "info", "-f", format, "--output=json", "--force-share", "image")
    assert json.loads(out)["format"] == format
    c.good(*limits, "convert", "-t", "none", "-f", format, "-O", "raw", "image", "back")
    assert (c.folder / "back").read_bytes() == CONTENT
    c.good(*limits, "convert", "-f", "raw", "-O", format, "source", "again")
    if format == "qcow2":
        c.good(*limits, "convert", "-c", "-f", "raw", "-O", format, "source", "packed")
        c.good(*limits, "convert", "-f", format, "-O", "raw", "packed", "back")
        assert (c.folder / "back").read_bytes() == CONTENT


def test_compare_tells_its_outcomes_by_exit_code(c: Commands) -> None:
    (c.folder / "other").write_bytes(CONTENT[:-512] + bytes(512))
    assert c.run("qemu-img", "compare", "-f", "raw", "-F", "raw", "source", "source")[0] == 0
    code, out, err = c.run("qemu-img", "compare", "-f", "raw", "-F", "raw", "source", "other")
    assert (code, out, err) == (1, f"Content mismatch at offset {len(CONTENT) - 512}!\n", "")
    c.bad("qemu-img", "compare", "source", "missing", code=2)


def test_a_missing_file_is_told_as_qemu_img_tells_it(c: Commands) -> None:
    text = "Could not open 'no': Could not open 'no': No such file or directory\n"
    for verb in ("info", "map", "check", "measure"):
        assert c.bad("qemu-img", verb, "no") == "qemu-img: " + text
        assert c.bad("instar", verb, "no") == "instar: " + text


def test_formats_that_are_not_there_are_told_apart(c: Commands) -> None:
    assert (
        c.bad("qemu-img", "info", "-f", "foo", "source") == "qemu-img: Could not open 'source': Unknown driver 'foo'\n"
    )
    assert c.bad("qemu-img", "info", "-f", "foo", "no") == "qemu-img: Could not open 'no': Unknown driver 'foo'\n"
    absent = next((name for name in ("qed", "vhdx", "bochs") if name not in registry.entries()), None)
    if absent:
        text = f"the format {absent} needs instar-{absent}, which is not installed"
        assert c.bad("instar", "info", "-f", absent, "source") == f"instar: Could not open 'source': {text}\n"


@pytest.mark.parametrize(
    ("words", "announced", "text"),
    [
        ("-b no -F qcow2 x 1M", False, f"x: Could not open 'no': No such file or directory\n{UNOPENED}"),
        ("-b no -F foo x 1M", False, f"x: Unknown driver 'foo'\n{UNOPENED}"),
        ("-b source -F qcow2 x", False, f"x: Image is not in qcow2 format\n{UNOPENED}"),
        ("-b source x", False, "x: Backing file specified without backing format\nDetected format of raw.\n"),
        ("-F qcow2 x", False, "x: Image creation needs a size parameter\n"),
        ("-F qcow2 x 1M", True, "x: Backing format cannot be used without backing file\n"),
        ("-F foo x 1M", True, "x: Parameter 'backing-fmt' does not accept value 'foo'\n"),
    ],
)  # fmt: skip
def test_a_backing_file_that_will_not_do_is_told_as_qemu_img_tells_it(
    c: Commands, words: str, announced: bool, text: str
) -> None:
    needs("qcow2")
    code, out, err = c.run("qemu-img", "create", "-f", "qcow2", *words.split())
    assert (code, err) == (1, f"qemu-img: {text}")
    assert out.startswith("Formatting 'x', fmt=qcow2 ") == announced
    assert not (c.folder / "x").exists()


def test_options_are_announced_in_the_order_of_qemu_img(c: Commands) -> None:
    out = c.good("qemu-img", "create", "-o", "preallocation=off,nocow=on,extent_size_hint=64k", "x", "1M")
    assert out == "Formatting 'x', fmt=raw size=1048576 nocow=on preallocation=off extent_size_hint=65536\n"
    needs("vmdk")
    out = c.good("qemu-img", "create", "-f", "vmdk", "-o", "preallocation=off", "x", "1M")
    assert out.endswith(" preallocation=off\n")
    code, out, err = c.run("qemu-img", "create", "-f", "vmdk", "-o", "preallocation=some", "y", "1M")
    assert (code, err) == (1, "qemu-img: y: invalid parameter value: some\n") and not (c.folder / "y").exists()


def test_measure_counts_what_is_allocated_beforehand(c: Commands) -> None:
    assert c.good("qemu-img", "measure", "-o", "preallocation=metadata", "--size", "1M").startswith(
        "required size: 1048576\n"
    )
    needs("qcow2")
    for how, required in (("off", 393216), ("metadata", 393216), ("falloc", 1074135040), ("full", 1074135040)):
        out = c.good("qemu-img", "measure", "-O", "qcow2", "-o", f"preallocation={how}", "--size", "1G")
        assert out == f"required size: {required}\nfully allocated size: 1074135040\n"
    assert "invalid parameter value: x" in c.bad(
        "qemu-img", "measure", "-O", "qcow2", "-o", "preallocation=x", "--size", "1G"
    )


def test_a_snapshot_of_a_format_without_any_is_told_as_qemu_img_tells_it(c: Commands) -> None:
    text = "Block format 'raw' used by device '' does not support temporarily loading internal snapshots"
    assert (
        c.bad("qemu-img", "convert", "-l", "s", "-f", "raw", "source", "x")
        == f"qemu-img: Failed to load snapshot: {text}\n"
    )
    assert not (c.folder / "x").exists()


def test_a_target_that_is_there_is_rewritten_in_place(c: Commands) -> None:
    target = c.folder / "target"
    target.write_bytes(b"\xff" * (3 * MIB))
    target.chmod(0o640)
    os.link(target, c.folder / "other-name")
    before = target.stat()
    c.good("qemu-img", "convert", "-f", "raw", "-O", "raw", "source", "target")
    after = target.stat()
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, 2)
    assert (c.folder / "other-name").read_bytes() == CONTENT
    (c.folder / "link").symlink_to("target")
    c.good("qemu-img", "create", "-q", "link", "1M")
    assert (c.folder / "link").is_symlink() and target.stat().st_ino == before.st_ino
    assert target.read_bytes() == bytes(MIB)


def limited(size: int) -> Callable[[], None]:
    """Sets the size of the largest file that the process may write."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("existing", [False, True])
def test_a_conversion_that_fails_half_way_leaves_nothing_that_looks_whole(
    c: Commands, format: str, existing: bool
) -> None:
    needs(format)
    (c.folder / "large").write_bytes(os.urandom(4 * MIB))
    target = c.folder / "target"
    if existing:
        c.good("instar", "create", "-q", "-f", format, "target", "8M")
        inode = target.stat().st_ino
    code, out, err = c.run("qemu-img", "convert", "-f", "raw", "-O", format, "large", "target", preexec_fn=limited(MIB))
    assert (code, out) == (1, "") and "File too large" in err and err.count("\n") == 1, err
    if not existing:
        assert not target.exists()
        return
    assert target.stat().st_ino == inode
    assert not any(target.read_bytes()[:4096])


def test_a_full_disk_is_told_in_one_line_and_nothing_is_left(c: Commands, tmp_path: Path) -> None:
    mount = shutil.which("mount")
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or not mount:
        pytest.skip("only root can mount a small file system")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, check=False
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (c.folder / "large").write_bytes(os.urandom(4 * MIB))
        for format in FORMATS:
            if format in registry.entries():
                err = c.bad("qemu-img", "convert", "-f", "raw", "-O", format, "large", "small/target")
                assert err.endswith(": No space left on device\n") and err.count("\n") == 1
                assert os.listdir(place) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A block device of 8 MiB full of old bytes, and the file behind it."""
    losetup = shutil.which("losetup")
    if os.geteuid() or not losetup:
        pytest.skip("only root can make a block device, with losetup")
    behind = tmp_path / "behind"
    behind.write_bytes(b"\xee" * (8 * MIB))
    done = subprocess.run([losetup, "--show", "-f", str(behind)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no block device can be made here: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device, behind
    finally:
        subprocess.run([losetup, "-d", device], check=True)


@pytest.mark.parametrize("more", [[], ["-n"], ["-S", "0"], ["-t", "none"]])
def test_a_block_device_holds_the_disk_and_none_of_what_was_there(
    c: Commands, loop: tuple[str, Path], more: list[str]
) -> None:
    device, behind = loop
    c.good("qemu-img", "convert", *more, "-f", "raw", "-O", "raw", "source", device)
    with open(device, "rb") as file:
        assert file.read(len(CONTENT)) == CONTENT
    assert behind.stat().st_size == 8 * MIB


def test_a_block_device_can_hold_an_image_and_be_read(c: Commands, loop: tuple[str, Path]) -> None:
    needs("qcow2")
    device, _ = loop
    c.good("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "source", device)
    assert "identical" in c.good("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "source", device)
    assert "No errors" in c.good("qemu-img", "check", device)
    (c.folder / "large").write_bytes(os.urandom(9 * MIB))
    assert c.bad("qemu-img", "convert", "-f", "raw", "-O", "raw", "large", device).count("\n") == 1


def test_an_existing_raw_disk_keeps_what_the_source_does_not_reach(c: Commands) -> None:
    target = c.folder / "target"
    old = b"\xee" * (len(CONTENT) + 3 * MIB + 512)
    target.write_bytes(old)
    c.good("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "source", "target")
    assert target.read_bytes() == CONTENT + old[len(CONTENT) :]
    target.write_bytes(b"\xee" * 512)
    text = "qemu-img: output file is smaller than input file\n"
    assert c.bad("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "source", "target") == text
    assert target.read_bytes() == b"\xee" * 512
    assert "No such file" in c.bad("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "source", "missing")
    assert not (c.folder / "missing").exists()


def test_an_existing_image_keeps_its_size_and_its_options(c: Commands) -> None:
    needs("qcow2")
    c.good("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k,compat=0.10", "target", "8M")
    c.good("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", "source", "target")
    told = json.loads(c.good("qemu-img", "info", "--output=json", "target"))
    assert (told["virtual-size"], told["cluster-size"]) == (8 * MIB, 4096)
    assert told["format-specific"]["data"]["compat"] == "0.10"
    assert "identical" in c.good("qemu-img", "compare", "-f", "raw", "source", "target")
    (c.folder / "target").write_bytes(b"no image" * 1000)
    c.bad("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", "source", "target")
    assert (c.folder / "target").read_bytes() == b"no image" * 1000
    c.good("qemu-img", "create", "-q", "-f", "qcow2", "target", "8M")
    c.good("qemu-img", "snapshot", "-c", "kept", "target")
    c.good("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", "source", "target")
    assert "identical" in c.good("qemu-img", "compare", "-f", "raw", "source", "target")
    assert "kept" in c.good("qemu-img", "snapshot", "-l", "target")


def slow(c: Commands, *more: str) -> subprocess.Popen[bytes]:
    """A conversion that takes many seconds, once it has begun to write."""
    (c.folder / "large").write_bytes(os.urandom(24 * MIB))
    process = c.start("qemu-img", "convert", "-r", "4M", *more, "-f", "raw", "-O", "raw", "large", "target")
    end = time.monotonic() + 30
    target = c.folder / "target"
    while not target.exists() or target.stat().st_blocks < 512:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_conversion_ends_at_once_and_leaves_nothing(c: Commands, number: int, code: int) -> None:
    process = slow(c)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert not (c.folder / "target").exists()


def test_a_time_limit_ends_a_conversion_and_leaves_nothing(c: Commands) -> None:
    (c.folder / "large").write_bytes(os.urandom(24 * MIB))
    err = c.bad("instar", "convert", "--timeout=2", "-r", "4M", "-f", "raw", "large", "target")
    assert "time limit of 2 s" in err
    assert not (c.folder / "target").exists()


def test_sigusr1_asks_for_progress_on_standard_error(c: Commands) -> None:
    process = slow(c)
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    process.terminate()
    process.communicate(timeout=10)
    assert line.startswith("    (") and line.endswith("/100%)\n")
    assert 0 <= float(line.strip()[1:-6]) < 100


def test_progress_goes_to_standard_output(c: Commands) -> None:
    out = c.good("qemu-img", "convert", "-p", "-f", "raw", "source", "target")
    assert out.startswith("    (0.00/100%)\r") and out.endswith("    (100.00/100%)\r\n")


def test_a_full_output_is_an_error(c: Commands) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [c.programs / "qemu-img", "info", "-f", "raw", "source"],
            cwd=c.folder,
            env=c.env,
            stdout=full,
            stderr=subprocess.PIPE,
        )
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert err == b"qemu-img: No space left on device\n"


@pytest.fixture
def locked() -> Iterator[Callable[[Path, tuple[int, ...]], None]]:
    """Holds image locks on a file, as a running QEMU would, until the test ends."""
    held: list[int] = []

    def hold(path: Path, places: tuple[int, ...]) -> None:
        descriptor = os.open(path, os.O_RDWR)
        held.append(descriptor)
        for place in places:
            fcntl.fcntl(descriptor, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, place, 1, 0))

    yield hold
    for descriptor in held:
        os.close(descriptor)


WRITER = (100, 101, 103, 201, 203)
"""The locks of a QEMU that has an image open for writing."""


def test_an_image_in_use_is_not_opened_unless_that_is_asked_for(
    c: Commands, locked: Callable[[Path, tuple[int, ...]], None]
) -> None:
    needs("qcow2")
    c.good("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "source", "image")
    locked(c.folder / "image", WRITER)
    before = (c.folder / "image").read_bytes()
    text = 'Failed to get shared "write" lock\nIs another process using the image [image]?\n'
    assert c.bad("qemu-img", "info", "image") == f"qemu-img: Could not open 'image': {text}"
    assert c.bad("qemu-img", "convert", "image", "x") == f"qemu-img: Could not open 'image': {text}"
    assert 'Failed to get "write" lock' in c.bad("qemu-img", "create", "-q", "-f", "qcow2", "image", "1M")
    assert 'Failed to get "write" lock' in c.bad("qemu-img", "convert", "-O", "qcow2", "-f", "raw", "source", "image")
    assert (c.folder / "image").read_bytes() == before
    c.good("qemu-img", "info", "-U", "image")
    c.good("qemu-img", "create", "-q", "-f", "qcow2", "-b", "image", "-F", "qcow2", "overlay")


def test_two_writers_exclude_each_other(c: Commands) -> None:
    process = slow(c)
    try:
        err = c.bad("qemu-img", "convert", "-f", "raw", "-O", "raw", "source", "target")
        assert 'Failed to get "write" lock' in err
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=10)
