"""Exports of qemu-nbd and nbdkit: read, written, and refused in plain words."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import instar_core
from instar_core import device
from instar_core.errors import InstarError
from instar_core.settings import Settings
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")
MIB = 1 << 20
INSIDE = Settings(sandbox="process")
SHARED = Settings(sandbox="process", force_share=True)
SIZE = 4 * MIB


def content(size: int = SIZE, seed: int = 7) -> bytes:
    """Random bytes between zeros."""
    chance = random.Random(seed)
    return b"".join(chance.randbytes(1 << 16) if chance.random() < 0.4 else bytes(1 << 16) for _ in range(size >> 16))


@pytest.fixture(autouse=True)
def fuse() -> None:
    servers.need_fuse()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(content())
    return path


def qemu_img(*words: str, code: int = 0) -> str:
    if servers.QEMU_IMG is None:
        pytest.skip("qemu-img is not installed")
    done = subprocess.run([servers.QEMU_IMG, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def copy(source: str, target: str, **how: object) -> None:
    instar_core.convert([source], target, source_format="raw", target_format="raw", settings=INSIDE, **how)


def test_info_is_what_qemu_img_prints(instar, disk: Path, tmp_path: Path) -> None:
    with servers.qemu_nbd(tmp_path, disk) as name:
        legacy = f"nbd:unix:{tmp_path}/socket"
        described = json.dumps({"driver": "raw", "file": {"driver": "nbd", "path": f"{tmp_path}/socket"}})
        for words in (["-f", "raw", name], ["-f", "raw", legacy], [f"json:{described}"]):
            for form in ("human", "json"):
                expected = qemu_img("info", f"--output={form}", *words)
                assert instar("info", f"--output={form}", *words) == (0, expected, "")
        for option in (
            f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={tmp_path}/socket",
            f"driver=raw,offset=64k,size=256k,file.driver=nbd,file.path={tmp_path}/socket",
            f"driver=nbd,server.type=unix,server.path={tmp_path}/socket",
        ):
            assert instar("info", "--image-opts", option)[1] == qemu_img("info", "--image-opts", option)


def test_an_export_of_a_port_is_found_by_its_name(disk: Path, tmp_path: Path) -> None:
    with servers.listening(disk) as port:
        for name in (f"nbd://127.0.0.1:{port}", f"nbd://127.0.0.1:{port}/", f"nbd:127.0.0.1:{port}"):
            opened = device.open_named(name)
            try:
                assert opened.path == f"nbd://127.0.0.1:{port}"
                assert os.pread(opened.descriptor, SIZE + 1, 0) == disk.read_bytes()
            finally:
                opened.close()


def test_what_is_read_is_what_the_export_holds(disk: Path, tmp_path: Path) -> None:
    with servers.qemu_nbd(tmp_path, disk) as name:
        copy(name, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == disk.read_bytes()
        assert instar_core.compare(name, str(disk), first_format="raw", second_format="raw", settings=SHARED).identical
        extents = list(instar_core.map(name, format="raw", settings=INSIDE))
    with disk.open("rb") as file:
        held = b"".join(
            bytes(each.length) if each.zero else os.pread(file.fileno(), each.length, each.start) for each in extents
        )
    assert held == disk.read_bytes()


def test_holes_of_an_export_are_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(20 * MIB)
        file.write(b"x" * 4096)
    with servers.qemu_nbd(tmp_path, sparse) as name:
        shown = [(each.start, each.length, each.zero) for each in instar_core.map(name, format="raw", settings=INSIDE)]
    assert shown == [
        (0, 20 * MIB, True),
        (20 * MIB, 4096, False),
        (20 * MIB + 4096, 44 * MIB - 4096, True),
    ]


def test_an_image_is_written_into_an_export_that_is_there(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(2 * MIB, seed=9))
    rest = disk.read_bytes()[2 * MIB :]
    with servers.qemu_nbd(tmp_path, disk) as name:
        copy(str(source), name, create=False)
    assert disk.read_bytes() == source.read_bytes() + rest


def test_an_image_is_made_in_an_export(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(2 * MIB, seed=9))
    with servers.qemu_nbd(tmp_path, disk) as name:
        copy(str(source), name)
    assert disk.read_bytes()[: 2 * MIB] == source.read_bytes()
    assert disk.stat().st_size == SIZE


@pytest.mark.skipif("qcow2" not in instar_core.registry.entries(), reason="instar-qcow2 is not installed")
def test_a_qcow2_image_lives_in_an_export(instar, tmp_path: Path) -> None:
    medium, source = tmp_path / "medium", tmp_path / "source"
    with medium.open("wb") as file:
        file.truncate(16 * MIB)
    source.write_bytes(content(2 * MIB, seed=3))
    with servers.qemu_nbd(tmp_path, medium) as name:
        for words in (
            ["convert", "-f", "raw", "-O", "qcow2", str(source), name],
            ["compare", "-f", "raw", str(source), name],
            ["check", name],
            ["resize", name, "6M"],
            ["snapshot", "-c", "first", name],
            ["bitmap", "--add", name, "b"],
            ["amend", "-o", "lazy_refcounts=on", name],
            ["check", "-r", "all", name],
            ["dd", "-f", "raw", "-O", "raw", "bs=64k", f"if={source}", f"of={tmp_path / 'copy'}"],
        ):
            code, _, said = instar(*words)
            assert (code, said) == (0, ""), words
        code, shown, _ = instar("info", "--output=json", name)
        facts = json.loads(shown)
        assert facts["virtual-size"] == 6 * MIB
        assert [snapshot["name"] for snapshot in facts["snapshots"]] == ["first"]
    assert "No errors" in qemu_img("check", "-f", "qcow2", str(medium))


@pytest.mark.parametrize(
    "words,said",
    [
        (["convert", "-n", "-f", "raw", "-O", "raw", "large", "EXPORT"], "output file is smaller than input file"),
        (["convert", "-f", "raw", "-O", "raw", "large", "EXPORT"], f"Cannot grow the source, which has {SIZE} bytes"),
        (["resize", "-f", "raw", "EXPORT", "8M"], f"Cannot grow the source, which has {SIZE} bytes"),
        (["create", "-f", "raw", "EXPORT", "8M"], f"Cannot grow the source, which has {SIZE} bytes"),
    ],
)
def test_an_export_keeps_its_size(instar, disk: Path, tmp_path: Path, words: list[str], said: str) -> None:
    before = disk.read_bytes()
    Path("large").write_bytes(b"x" * 8 * MIB)
    with servers.qemu_nbd(tmp_path, disk) as name:
        code, _, told = instar(*[name if word == "EXPORT" else word for word in words])
    assert code == 1 and said in told
    assert disk.stat().st_size == SIZE
    if "-n" in words:
        assert disk.read_bytes() == before


def test_an_export_that_is_read_only_is_not_written_to(instar, disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    Path("new").write_bytes(b"x" * MIB)
    with servers.qemu_nbd(tmp_path, disk, "-r") as name:
        told = instar("convert", "-n", "-f", "raw", "-O", "raw", "new", name)
        expected = f"qemu-img: Could not open '{name}': Could not open image: Permission denied\n"
        assert told == (1, "", expected)
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    "name,said",
    [
        ("nbd:", "NBD server address missing"),
        ("nbd:unix:", "NBD server address missing"),
        ("nbd:foo", "error parsing address 'foo'"),
        ("nbd:foo:70000", "error parsing address 'foo:70000'"),
        ("nbd://", "No valid URL specified"),
        ("nbd://h:99999/", "No valid URL specified"),
        ("nbd://h/?socket=/x", "No valid URL specified"),
        ("nbd+unix:///x", "No valid URL specified"),
        ("nbd+unix://h/x?socket=/y", "No valid URL specified"),
        ("nbd:unix:/no/such", "Failed to connect to '/no/such': No such file or directory"),
        ("nbd://127.0.0.1:9/x", "Failed to connect to '127.0.0.1:9': Connection refused"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_in_qemu_imgs_words(instar, name: str, said: str) -> None:
    assert instar("info", name) == (1, "", f"qemu-img: Could not open '{name}': {said}\n")


def test_an_export_that_is_not_there_is_told_with_the_servers_words(instar, disk: Path, tmp_path: Path) -> None:
    with servers.qemu_nbd(tmp_path, disk, "-x", "one") as name:
        other = name.replace("///", "///two")
        code, _, said = instar("info", other)
        assert code == 1 and "Requested export not available\nserver reported: " in said
        assert instar("info", "-f", "raw", name.replace("///", "///one"))[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--filter=blocksize-policy", "blocksize-minimum=4096", "blocksize-error-policy=error"],
        ["--filter=noextents"],
        ["--filter=nozero"],
        ["--filter=nozero", "zeromode=notrim"],
        ["--filter=fua", "--filter=cache"],
        ["--no-sr"],
        ["-n", "-e", "name"],
        ["-o"],
    ],
    ids=" ".join,
)
def test_servers_that_can_do_less_are_read_and_written_as_well(words: list[str], disk: Path, tmp_path: Path) -> None:
    filters = [word for word in words if word.startswith("-") or word == "name"]
    given = [word for word in words if "=" in word and not word.startswith("-")]
    new = content(seed=11)
    (tmp_path / "new").write_bytes(new)
    with servers.nbdkit(tmp_path, *filters, "file", str(disk), *given) as (place, _):
        name = place.replace("///", "///name") if "name" in words else place
        copy(name, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == disk.read_bytes()
        copy(str(tmp_path / "new"), name, create=False)
        opened = device.open_named(name, write=True)
        try:
            os.pwrite(opened.descriptor, b"odd", 4095)
            os.pwrite(opened.descriptor, b"end", SIZE - 3)
            if "-o" not in words:  # nbdkit refuses it there, although it says that it can
                os.fsync(opened.descriptor)
            assert os.pread(opened.descriptor, 5, 4094) == new[4094:4095] + b"odd" + new[4098:4099]
            with pytest.raises(OSError, match="No space left"):
                os.pwrite(opened.descriptor, b"beyond", SIZE - 3)
        finally:
            opened.close()
    assert disk.read_bytes() == new[:4095] + b"odd" + new[4098 : SIZE - 3] + b"end"


def test_what_a_server_refuses_is_told_and_nothing_half_written_stays(instar, disk: Path, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    words = ["--filter=error", "file", str(disk), "error-rate=100%", f"error-file={fault}"]
    with servers.nbdkit(tmp_path, *words) as (name, _):
        fault.touch()
        code, _, said = instar("convert", "-f", "raw", "-O", "raw", name, "copy")
        assert code == 1 and "the NBD server says: Input/output error" in said
        assert not Path("copy").exists()
        Path("source").write_bytes(content(seed=5))
        code, _, said = instar("convert", "-n", "-f", "raw", "-O", "raw", "source", name)
        assert code == 1 and "the NBD server says: Input/output error" in said
        fault.unlink()
        assert instar("convert", "-n", "-f", "raw", "-O", "raw", "source", name) == (0, "", "")
        assert disk.read_bytes() == Path("source").read_bytes()


def test_a_server_that_dies_in_the_middle_ends_the_command_plainly(disk: Path, tmp_path: Path) -> None:
    with servers.nbdkit(tmp_path, "file", str(disk)) as (name, server):

        def die(progress: instar_core.Progress) -> None:
            if progress.done:
                server.kill()

        with pytest.raises(InstarError) as caught:
            for _ in range(8):
                copy(name, str(tmp_path / "copy"), progress=die)
    assert "Input/output error" in caught.value.message or "connect" in caught.value.message
    assert "the NBD server" in caught.value.hint + caught.value.message or "Failed to connect" in caught.value.message


def test_no_process_and_no_descriptor_is_left(disk: Path, tmp_path: Path) -> None:
    def open_files() -> list[str]:
        return sorted(os.listdir("/proc/self/fd"))

    before = open_files()
    with servers.qemu_nbd(tmp_path, disk) as name:
        opened = device.open_named(name, writable=True)
        second = device.reopen(opened, write=True)
        assert opened.served is not None
        pid = opened.served.pid
        opened.close()
        os.pwrite(second.descriptor, b"still served", 0)
        second.close()
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(InstarError):
            device.open_named(name.replace("///", "///nowhere"))
    assert open_files() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    assert disk.read_bytes()[:12] == b"still served"


def test_a_host_that_was_killed_leaves_no_process(disk: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from instar_core import device\n"
        "opened = device.open_named(sys.argv[1])\n"
        "print(opened.served.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with servers.qemu_nbd(tmp_path, disk) as name:
        with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, env=environment) as host:
            assert host.stdout is not None
            place = Path(f"/proc/{int(host.stdout.readline())}/fd")
            assert any(place.iterdir())
            host.kill()
        end = time.monotonic() + 20
        while held(place):
            assert time.monotonic() < end, "the process lives on"
            time.sleep(0.01)


def held(place: Path) -> bool:
    """Whether a process still has files open; one that nobody has reaped yet has none."""
    try:
        return any(place.iterdir())
    except OSError:
        return False


def test_a_process_that_was_killed_is_told_of(disk: Path, tmp_path: Path) -> None:
    with servers.qemu_nbd(tmp_path, disk) as name, pytest.raises(InstarError) as caught:
        opened = device.open_named(name)
        try:
            assert opened.served is not None
            os.kill(opened.served.pid, 9)
            try:
                while os.pread(opened.descriptor, 1, 0):
                    continue
            except OSError as error:
                raise InstarError("reading failed") from error
        finally:
            opened.close()
    assert caught.value.hint == "the process that serves the source has ended"
