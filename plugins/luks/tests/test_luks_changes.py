"""Volumes whose content and size change in place, judged by qemu-img."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core import disk as disks
from instar_core.changing import Changing
from instar_core.errors import InstarError
from instar_core.keyring import Keyring
from instar_core.operations.create import create
from instar_core.operations.resize import resize
from instar_core.piece import Piece
from instar_core.settings import Settings

MIB = 1 << 20


@pytest.fixture
def settings():
    ring = Keyring()
    ring.add("s", b"secret")
    return Settings(sandbox="process", policy="qemu", keyring=ring)


def volume(path, settings, **options):
    given = {"key-secret": "s", "iter-time": "10", **options}
    create(str(path), size=MIB, format="luks", options=given, settings=settings)
    return path


def write(path, settings, *pieces):
    own = path.with_name("pieces")
    own.write_bytes(b"".join(data for _, data in pieces if not isinstance(data, int)))
    descriptor = os.open(own, os.O_RDONLY)
    at, made = 0, []
    for start, data in pieces:
        if isinstance(data, int):
            made.append(Piece(start, data, True))
        else:
            made.append(Piece(start, len(data), False, descriptor, at))
            at += len(data)
    with Changing(str(path), settings, format="luks", options={"key-secret": "s"}) as image:
        image.update(lambda unit: iter(made))
    os.close(descriptor)


def read(path, settings, start, length):
    with disks.open(str(path), format="luks", open_options={"key-secret": "s"}, settings=settings) as disk:
        return disk.pread(length, start)


@pytest.mark.parametrize("options", [{}, {"version": "2", "sector-size": "4096", "pbkdf": "pbkdf2"}])
def test_what_is_written_is_encrypted_zeros_too(tmp_path, settings, options):
    path = volume(tmp_path / "disk.luks", settings, **options)
    write(path, settings, (0, MIB))
    write(path, settings, (4096, b"x" * 8192), (65536, 4096))
    assert read(path, settings, 0, MIB) == bytes(4096) + b"x" * 8192 + bytes(MIB - 12288)
    assert b"x" * 64 not in path.read_bytes()
    assert bytes(4096) not in path.read_bytes()[-MIB:]


@pytest.mark.oracle
def test_qemu_img_reads_what_was_written(tmp_path, settings):
    img = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if not img:
        pytest.skip("qemu-img is not installed")
    path = volume(tmp_path / "disk.luks", settings)
    write(path, settings, (0, MIB))
    resize(str(path), 2 * MIB, format="luks", settings=settings)
    write(path, settings, (MIB, b"y" * MIB))
    words = [img, "convert", "--object", "secret,id=s,data=secret", "--image-opts"]
    words += [f"driver=luks,file.filename={path},key-secret=s", "-O", "raw", str(tmp_path / "out")]
    subprocess.run(words, check=True, capture_output=True)
    assert (tmp_path / "out").read_bytes() == bytes(MIB) + b"y" * MIB


@pytest.mark.oracle
@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("size", [2 * MIB, 2 * MIB + 1])
def test_a_volume_is_as_long_as_qemu_img_makes_it(tmp_path, settings, mode, size):
    img = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if not img:
        pytest.skip("qemu-img is not installed")
    ours = volume(tmp_path / "ours.luks", settings)
    twin = tmp_path / "twin.luks"
    shutil.copy(ours, twin)
    words = [img, "resize", f"--preallocation={mode}", "--object", "secret,id=s,data=secret", "--image-opts"]
    done = subprocess.run(
        [*words, f"driver=luks,file.filename={twin},key-secret=s", str(size)], capture_output=True, check=False
    )
    said = done.stderr.decode().removeprefix("qemu-img: ").strip()
    told = ""
    try:
        resize(str(ours), size, preallocation=mode, format="luks", settings=settings)
    except InstarError as error:
        told = error.message
    assert (told, ours.read_bytes()) == (said, twin.read_bytes())
    node = f"driver=luks,file.filename={twin},key-secret=s"
    subprocess.run([*words[:2], "--shrink", *words[3:], node, str(MIB)], check=True, capture_output=True)
    resize(str(ours), MIB, shrink=True, format="luks", settings=settings)
    assert ours.read_bytes() == twin.read_bytes()
