"""The command lines of platforms (command_lines.toml), given to instar under the name qemu-img and to the real one.

Both run in a folder of the same images. Exit codes, output, messages, and what the made images hold and tell of
themselves must agree; what does not is refused with a reason, or is a quirk that docs/quirks.toml lists.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instar_core.cli.main import main
from instar_core.testing.foreign import Programs

HERE = Path(__file__).parent
COMMANDS = tomllib.loads((HERE / "command_lines.toml").read_text())["command"]
QUIRKS = {entry["name"] for entry in tomllib.loads((HERE.parent / "docs" / "quirks.toml").read_text())["quirk"]}
PROGRAMS = Programs()
Told = tuple[int, str, str]

SOURCES = [command["source"] for command in COMMANDS]
REFUSED = [command for command in COMMANDS if "refused" in command]
RUN = [
    pytest.param(command, marks=[pytest.mark.long] if command.get("slow") else [])
    for command in COMMANDS
    if "refused" not in command
]


def images(folder: Path) -> None:
    """Small images of all kinds, made by QEMU's own programs."""

    def img(line: str) -> None:
        PROGRAMS.run(PROGRAMS.qemu(), *shlex.split(line), check=True)

    def write(image: str, *what: str, options: tuple[str, ...] = ("-f", "qcow2")) -> None:
        words = [word for each in what for word in ("-c", f"write -P {each}")]
        PROGRAMS.run(PROGRAMS.qemu("qemu-io"), *options, *words, image)

    os.chdir(folder)
    disk = bytearray(4 << 20)
    disk[446:462] = bytes.fromhex("80000201830000000800000000180000")
    disk[510:512] = b"\x55\xaa"
    disk[1 << 20 : (1 << 20) + 70000] = b"content." * 8750
    disk[3 << 20 : (3 << 20) + 4096] = bytes(range(256)) * 16
    Path("disk.raw").write_bytes(disk)
    Path("efi.raw").write_bytes(disk[:512] + bytes(100000) + b"vars" * 8000 + bytes(135168 - 132512))
    for name, size in (
        ("zeros.raw", 4 << 20),
        ("target.raw", 4 << 20),
        ("small.raw", 65536),
        ("efi-target.raw", 135168),
    ):
        with open(name, "wb") as file:
            file.truncate(size)
    Path("passphrase").write_bytes(b"open sesame")
    Path("test.txt").write_bytes(b"This is just a plain text file.\n")
    disc = bytearray(1 << 20)
    disc[32768:32775] = b"\x01CD001\x01"
    disc[34816:34823] = b"\xffCD001\x01"
    disc[32768 + 80 : 32768 + 88] = (512).to_bytes(4, "little") + (512).to_bytes(4, "big")
    disc[32768 + 120 : 32768 + 132] = bytes.fromhex("010000010100000100080800")
    Path("disc.iso").write_bytes(disc)
    for format, name in (
        ("qcow2", "base.qcow2"),
        ("vmdk", "disk.vmdk"),
        ("vpc", "disk.vpc"),
        ("vhdx", "disk.vhdx"),
        ("vdi", "disk.vdi"),
        ("qed", "disk.qed"),
    ):
        img(f"convert -f raw -O {format} disk.raw {name}")
    img("convert -f raw -O vmdk -o subformat=streamOptimized disk.raw stream.vmdk")
    img("create -q -f vmdk base.vmdk 4M")
    img("create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2")
    write("mid.qcow2", "17 65536 65536", "18 1M 4096")
    img("create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2")
    write("top.qcow2", "33 0 4096", "34 2M 131072")
    img("convert -f qcow2 -O raw top.qcow2 top.raw")
    img("create -q -f qcow2 flat.qcow2 4M")
    write("flat.qcow2", "5 0 1M")
    img("create -q -f qcow2 -o compat=0.10 old.qcow2 4M")
    img("create -q -f qcow2 empty.qcow2 4M")
    img("create -q -f qcow2 efi-target.qcow2 135168")
    img("convert -f raw -O qcow2 disk.raw marked.qcow2")
    img("bitmap --add marked.qcow2 b0")
    write("marked.qcow2", "9 192k 64k")
    img("convert -f raw -O qcow2 disk.raw kept.qcow2")
    img("snapshot -c first kept.qcow2")
    img("convert -l first -f qcow2 -O raw kept.qcow2 kept-first.raw")
    write("kept.qcow2", "44 64k 64k")
    img("snapshot -c second kept.qcow2")
    secret = "--object secret,id=s,file=passphrase"
    sealed = "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    img(f"convert -f raw -O luks {secret} -o key-secret=s,iter-time=10 disk.raw disk.luks")
    img(f"convert -f raw -O qcow2 {secret} {sealed} disk.raw sealed.qcow2")
    img(f"create -q -f qcow2 {secret} {sealed} -u -b sealed.qcow2 -F qcow2 sealed-top.qcow2 4M")
    described = "driver=qcow2,encrypt.key-secret=s,backing.encrypt.key-secret=s,file.filename=sealed-top.qcow2"
    PROGRAMS.run(PROGRAMS.qemu("qemu-io"), *secret.split(), "-c", "write -P 8 65536 65536", "--image-opts", described)
    for name, at, value in (("leaky.qcow2", 40, 1), ("torn.qcow2", 4, 0)):
        shutil.copy("flat.qcow2", name)
        with open(name, "r+b") as file:  # refcounts: the table in cluster 1, the block in cluster 2
            file.seek(0x20000 + at * 2)
            file.write(value.to_bytes(2, "big"))
            if at == 40:
                file.truncate(41 << 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of images, which tests copy."""
    folder = tmp_path_factory.mktemp("images")
    PROGRAMS.qemu("qemu-io")
    before = Path.cwd()
    try:
        images(folder)
    finally:
        os.chdir(before)
    yield folder


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """A folder in which qemu-img is instar."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "qemu-img"
    text = f"#!{sys.executable}\nfrom instar_core.cli.main import command\n\ncommand()\n"
    program.write_text(text)
    program.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Default settings, one language and one time zone; no image stays behind."""
    for name in list(os.environ):
        if name.startswith("INSTAR_") and name not in ("INSTAR_QEMU_IMG", "INSTAR_QEMU_IO", "INSTAR_TEST_MASK"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INSTAR_SANDBOX", "process")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("TZ", "UTC")
    yield
    for folder in tmp_path.glob("twin?"):
        shutil.rmtree(folder)


def modern() -> bool:
    """Whether the real program is as new as the one whose words instar uses."""
    found = re.match(rb"qemu-img version (\d+)\.(\d+)", PROGRAMS.img("--version").stdout)
    return found is not None and (int(found[1]), int(found[2])) >= (11, 1)


def run(line: str, folder: Path, program: Path) -> Told:
    """The line carried out in the folder, with the folder of `program` first on PATH."""
    line = line.replace("{dir}", str(folder)).replace("/usr/bin/qemu-img", "qemu-img")
    words, into = shlex.split(line), subprocess.PIPE
    given = subprocess.DEVNULL
    opened: list[Any] = []
    if "<" in words:
        at = words.index("<")
        opened.append(open(folder / words[at + 1], "rb"))  # noqa: SIM115  closed below
        given, words = opened[-1], words[:at]
    if ">" in words:
        at = words.index(">")
        opened.append(open(folder / words[at + 1], "wb"))  # noqa: SIM115  closed below
        into, words = opened[-1], words[:at]
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        stdin=given,
        stdout=into,
        stderr=subprocess.PIPE,
        env={**os.environ, "PATH": path},
        check=False,
    )
    for file in opened:
        file.close()
    return done.returncode, tidy(done.stdout or b"", folder), tidy(done.stderr, folder)


def inside(line: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    """The line carried out by instar in this process, which is faster."""
    monkeypatch.chdir(folder)
    words = shlex.split(line.replace("{dir}", str(folder)))
    capfd.readouterr()
    code = main(["qemu-img", *words[1:]])
    told = capfd.readouterr()
    return code, tidy(told.out.encode(), folder), tidy(told.err.encode(), folder)


def tidy(told: bytes, folder: Path) -> str:
    """What was said, without what differs from run to run: places, allocation, identifiers, dates, durations."""
    text = told.decode("utf-8", "replace").replace(str(folder), "DIR")
    if text.startswith(("{", "[")):
        try:
            return json.dumps(unsettled(json.loads(text)), indent=1)
        except ValueError:
            pass
    text = re.sub(r"in \d+\.\d+ seconds", "in N seconds", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"disk size: .*", "disk size: N", text)
    text = re.sub(r"( +\(\d+\.\d\d/100%\)\r)+ +\(100\.00/100%\)\r", "PROGRESS", text)
    return re.sub(r"c?id: 0?x?[0-9a-f-]+", "id: N", text)


def unsettled(found: Any) -> Any:
    """JSON without what is not the image's own or is drawn anew for each."""
    if isinstance(found, list):
        return [unsettled(item) for item in found]
    if isinstance(found, dict):
        gone = ("actual-size", "cid", "parent-cid", "uuid", "date-sec", "date-nsec", "iters", "master-key-iters")
        return {key: unsettled(value) for key, value in found.items() if key not in gone}
    return found


def facts(image: Path, command: dict[str, Any]) -> Any:
    """What the image tells of itself, by the real qemu-img."""
    words = ["-f", "raw", image] if image.name in command.get("raw", ()) else [image]
    told = json.loads(PROGRAMS.img("info", *words, "--output=json").stdout)
    told.pop("children", None)
    for extent in told.get("format-specific", {}).get("data", {}).get("extents", ()):
        extent.pop("virtual-size", None)
    text = json.dumps(unsettled(told)).replace(str(image.parent), "DIR")
    return json.loads(text)


def held(first: Path, second: Path, command: dict[str, Any]) -> str:
    """What the real qemu-img says when it compares what two images hold."""
    words: list[str] = []
    if command.get("secret"):
        words = ["--object", f"secret,id=s,file={first.parent / 'passphrase'}", "--image-opts"]
        words += [f"file.filename={image},{command['secret']}" for image in (first, second)]
    elif second.name in command.get("raw", ()) or "same" in command:
        words = [
            *(("-F", "raw") if second.name in command.get("raw", ()) else ()),
            "-f",
            "raw",
            str(first),
            str(second),
        ]
    else:
        words = [str(first), str(second)]
    return PROGRAMS.img("compare", *words, check=False).stdout.decode()


def words_of(command: dict[str, Any]) -> str:
    """The source as the name of a test."""
    return re.sub(r"[^A-Za-z0-9]+", "-", command["source"])[:80].strip("-")


@pytest.mark.oracle
@pytest.mark.parametrize("command", RUN, ids=words_of)
def test_a_platforms_command_line_does_here_what_it_does_there(
    command: dict[str, Any],
    made: Path,
    shim: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = Path(PROGRAMS.qemu())
    ours, twins = tmp_path / "twin1" / "vm", tmp_path / "twin2" / "vm"
    for folder in (ours, twins):
        folder.parent.mkdir()
        PROGRAMS.run("cp", "-a", made, folder)  # holes stay holes
    if theirs.name != "qemu-img":
        pytest.skip("the real qemu-img has another name")
    if command.get("policy"):
        monkeypatch.setenv("INSTAR_IMAGE_POLICY", command["policy"])
    differences = []
    for line in command["steps"]:
        outside = not line.startswith("qemu-img ") or {"<", ">"} & set(line.split())
        have = run(line, ours, shim / "qemu-img") if outside else inside(line, ours, capfd, monkeypatch)
        if command.get("patched"):
            assert (have[0], have[2]) == (0, ""), line
            continue
        want = run(line, twins, theirs)
        if command.get("version"):
            have, want = versioned(have), versioned(want)
        if not modern():  # other words, other details; what it comes to is the same
            have, want = (have[0], "", str(bool(have[2]))), (want[0], "", str(bool(want[2])))
        if have != want:
            differences.append(f"{line}\n  here  {have}\n  there {want}")
    if "differs" in command:
        assert command["differs"] in QUIRKS
        if modern():  # of an older one only exit codes are compared
            assert len(differences) == len(command["steps"]), "they agree: no quirk"
        return
    assert not differences, "\n".join(differences)
    for position, name in enumerate(command.get("makes", ())):
        wanted = ours / command["same"][position] if command.get("patched") else twins / name
        assert held(wanted, ours / name, command) == "Images are identical.\n", name
        if not command.get("patched"):
            assert facts(ours / name, command) == facts(twins / name, command), name


def versioned(told: Told) -> Told:
    """What Cinder reads of --version: numbers, and that they can be compared."""
    found = re.match(r"qemu-img version ([0-9\.]*)", told[1])
    assert found is not None
    assert [int(number) for number in found[1].split(".")] >= [2, 10, 0]
    return told[0], "", told[2]


@pytest.mark.parametrize("command", REFUSED, ids=words_of)
def test_what_is_not_done_here_is_refused_in_one_line_that_says_what_to_use(
    command: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    for line in command["steps"]:
        code, out, err = inside(line, tmp_path, capfd, monkeypatch)
        assert (code, out, err) == (2 if " compare " in line else 1, "", command["said"] + "\n")
    assert command["refused"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "disk.raw"][1:]


def test_every_command_line_has_a_source_of_its_own() -> None:
    assert len(SOURCES) == len(set(SOURCES))
    assert all(command["steps"] for command in COMMANDS)
