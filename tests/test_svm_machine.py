"""The machine of tests/svm, without starting it: what it is made of, and how its end is understood."""

from __future__ import annotations

import gzip
import importlib.util
import io
import lzma
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).with_name("svm")
TOKEN = "0123456789abcdef"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"svm_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contents, cpio, kmod, vm = (load(name) for name in ("contents", "cpio", "kmod", "vm"))


def an_archive() -> bytes:
    out = io.BytesIO()
    archive = cpio.Archive(out)
    archive.folder("/etc")
    for length in range(5):
        archive.file(f"/etc/{'n' * (length + 1)}", b"x" * length, executable=length % 2 == 1, mtime=1700000000 + length)
    archive.link("/etc/link", "n")
    archive.close()
    assert archive.size == len(out.getvalue())
    return out.getvalue()


def members(data: bytes):
    """What an archive holds, as the kernel's documentation says it is to be read: name, mode, time, bytes."""
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        mode, mtime, size, length = numbers[1], numbers[5], numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + length]
        assert name.endswith(b"\0")
        start = (at + 110 + length + 3) & ~3
        if name == b"TRAILER!!!\0":
            return
        yield name[:-1].decode(), mode, mtime, data[start : start + size]
        at = (start + size + 3) & ~3


def test_an_archive_reads_back_as_it_was_written():
    found = list(members(an_archive()))
    files = [(f"etc/{'n' * (n + 1)}", 0o100755 if n % 2 else 0o100644, 1700000000 + n, b"x" * n) for n in range(5)]
    assert found == [("etc", 0o040755, 0, b""), *files, ("etc/link", 0o120777, 0, b"n")]


@pytest.mark.oracle
def test_another_program_unpacks_an_archive(tmp_path):
    path = tmp_path / "archive.cpio"
    path.write_bytes(an_archive())
    readers = {"cpio": f"cpio -id < {path}", "bsdtar": f"bsdtar -xf {path}", "7z": f"7z x -snl {path}"}
    reader = next((command for program, command in readers.items() if shutil.which(program)), None)
    if reader is None:
        pytest.skip(f"none of {', '.join(readers)} is here")
    (tmp_path / "out").mkdir()
    subprocess.run(reader, shell=True, cwd=tmp_path / "out", check=True, capture_output=True)
    unpacked = tmp_path / "out" / "etc"
    for length in range(5):
        assert (unpacked / ("n" * (length + 1))).read_bytes() == b"x" * length
    assert os.readlink(unpacked / "link") == "n"


def test_a_module_loads_after_all_that_it_needs():
    needs = {"kvm_amd": ["kvm", "ccp"], "kvm": ["irqbypass"], "ccp": ["rng_core"], "rng_core": [], "irqbypass": []}
    assert kmod.load_order(["kvm-amd"], needs) == ["irqbypass", "kvm", "rng_core", "ccp", "kvm_amd"]
    assert kmod.load_order(["kvm", "kvm-amd"], needs)[:2] == ["irqbypass", "kvm"]


@pytest.mark.parametrize("needs", [{"a": ["b"], "b": ["a"]}, {"a": ["b"]}, {}])
def test_modules_that_cannot_be_loaded_are_refused(needs):
    with pytest.raises(LookupError):
        kmod.load_order(["a"], needs)


def a_module(information: bytes) -> bytes:
    """A file of the kind that holds a module, with no code in it."""
    names = b"\0.modinfo\0.shstrtab\0"
    data = information + names
    table = 64 + len(data)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = [(0, 0, 0), (1, 64, len(information)), (10, 64 + len(information), len(names))]
    return header + data + b"".join(struct.pack("<IIQQQQ24x", name, 1, 0, 0, *place) for name, *place in sections)


def test_what_a_module_needs_is_read_from_it(tmp_path):
    (tmp_path / "arch").mkdir()
    said = {"kvm-amd.ko": b"depends=kvm,ccp", "arch/kvm.ko.xz": b"depends=irqbypass", "ccp.ko.gz": b"depends="}
    for name, words in said.items():
        data = a_module(b"license=GPL\0" + words + b"\0name=x\0")
        packed = {".xz": lzma.compress, ".gz": gzip.compress}.get(name[-3:], bytes)
        (tmp_path / name).write_bytes(packed(data))
    (tmp_path / "irqbypass.ko").write_bytes(a_module(b"license=GPL\0"))
    (tmp_path / "modules.order").write_bytes(b"")
    files = kmod.found_in(str(tmp_path))
    assert files.keys() == {"kvm_amd", "kvm", "ccp", "irqbypass"}
    found = kmod.needs_of("kvm-amd", files)
    assert found == {"kvm_amd": ["kvm", "ccp"], "kvm": ["irqbypass"], "ccp": [], "irqbypass": []}
    assert kmod.content(files["kvm"])[:4] == b"\x7fELF"


def test_a_file_that_is_no_module_is_refused():
    with pytest.raises(LookupError, match="no module"):
        kmod.said_needs(b"#!/bin/sh")


@pytest.mark.parametrize("size", range(1, 40))
def test_the_line_that_tells_the_status_is_found_however_it_is_cut(size):
    said = f"first\n\n{TOKEN[:5]} is no token\n12 {TOKEN} 9\n{TOKEN} x\n{TOKEN} 256\nlast\n{TOKEN} 7\n".encode()
    speech = vm.Speech(TOKEN)
    shown = b"".join(speech.feed(said[at : at + size]) for at in range(0, len(said), size))
    assert speech.status == 7
    assert shown == said.removesuffix(f"{TOKEN} 7\n".encode())


def test_a_line_is_shown_before_it_ends():
    speech = vm.Speech(TOKEN)
    assert speech.feed(b"..") == b".."
    assert speech.feed(b"F." + TOKEN.encode()) == b"F." + TOKEN.encode()
    assert speech.feed(b" 1\n") == b" 1\n"
    assert speech.status is None


def ran(tmp_path, code: str, deadline: float = 20):
    shown = io.BytesIO()
    command = [sys.executable, "-I", "-S", "-u", "-c", code]
    status = vm.run(command, vm.Speech(TOKEN), shown, str(tmp_path / "complaints"), deadline)
    return status, shown.getvalue()


def test_a_machine_is_ended_as_soon_as_it_told_its_status(tmp_path):
    began = time.monotonic()
    code = f"import time; print('said'); print('{TOKEN} 3'); time.sleep(60)"
    assert ran(tmp_path, code) == (3, b"said\n")
    assert time.monotonic() - began < 30


def test_a_machine_that_ends_without_a_status_has_none(tmp_path):
    assert ran(tmp_path, "import sys; print('said'); sys.stderr.write('why')") == (None, b"said\n")
    assert (tmp_path / "complaints").read_text() == "why"


def test_a_machine_that_does_not_end_is_killed_at_its_deadline(tmp_path):
    mark = tmp_path / "mark"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()))\nwhile True: time.sleep(0.1); print('.')"
    with pytest.raises(vm.DeadlinePassed, match="within 1 s"):
        ran(tmp_path, code, 1)
    assert not os.path.exists(f"/proc/{mark.read_text()}")


def test_a_link_is_held_with_what_it_leads_to(tmp_path):
    top = str(tmp_path.resolve())
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "file").write_text("x")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "name").symlink_to(f"{top}/folder/deep/../deep/file")
    held = contents.Contents()
    assert held.add(f"{top}/name") == f"{top}/real/deep/file"
    assert {f"{top}/name", f"{top}/folder"} <= held.links.keys()
    assert held.files == {f"{top}/real/deep/file"}
    assert {f"{top}/real", f"{top}/real/deep", top} <= held.folders
    assert contents.real(f"{top}/folder/deep/file", held.links) == f"{top}/real/deep/file"


def test_a_link_to_nowhere_is_held_alone_and_one_to_itself_is_refused(tmp_path):
    top = str(tmp_path.resolve())
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "itself").symlink_to("itself")
    held = contents.Contents()
    held.add(f"{top}/nowhere")
    assert held.links[f"{top}/nowhere"] == "missing"
    assert not held.files
    with pytest.raises(OSError, match="symbolic links"):
        held.add(f"{top}/itself")


def test_a_tree_is_held_without_what_is_of_no_use(tmp_path):
    useless = ("package/a.opt-1.pyc", ".git/x", "environment/pyvenv.cfg", "tests/t.py", "package/tests/t.py")
    for name in ("package/a.py", *useless):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "package" / "above").symlink_to("..")
    held = contents.Contents()
    held.add_tree(str(tmp_path.resolve()), {"tests"})
    assert {os.path.relpath(path, tmp_path.resolve()) for path in held.files} == {"package/a.py"}


def test_the_libraries_of_a_program_are_held_with_the_loader():
    if shutil.which("ldd") is None:
        pytest.skip("there is no ldd here")
    held = contents.Contents()
    held.add(os.path.realpath(sys.executable))
    held.add_libraries()
    names = {os.path.basename(path) for path in [*held.files, *held.links]}
    assert any(name.startswith(("libc.so", "libc.musl", "libc-")) for name in names)
    assert any(name.startswith("ld-") for name in names)
