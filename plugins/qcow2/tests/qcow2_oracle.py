"""What qemu-img and qemu-io say of an image."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess

import pytest

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")

needs_qemu_img = pytest.mark.skipif(not QEMU_IMG, reason="qemu-img is not installed")
needs_qemu_io = pytest.mark.skipif(not (QEMU_IMG and QEMU_IO), reason="qemu-img or qemu-io is not installed")


def run(folder, *words):
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def knows(option):
    """Whether this qemu-img can create qcow2 images with the option: keep_data_file came with 11.0."""
    done = subprocess.run(
        [QEMU_IMG, "create", "-f", "qcow2", "-o", "help"], capture_output=True, text=True, check=False
    )
    return f"{option}=" in done.stdout


def img(folder, *words):
    done = run(folder, QEMU_IMG, *words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def io(folder, *commands, name="x"):
    words = [word for command in commands for word in ("-c", command)]
    done = run(folder, QEMU_IO, "-f", "qcow2", *words, name)
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def info(folder, name="x"):
    return json.loads(img(folder, "info", "--output=json", name))


def content(folder, name="x", snapshot=None):
    words = ["-l", f"snapshot.id={snapshot}"] if snapshot else []
    img(folder, "convert", *words, "-O", "raw", name, "content.raw")
    return (folder / "content.raw").read_bytes()


def contents(folder, name="x"):
    """Digest of the active content (under "") and of every snapshot's, by id."""
    ids = [snapshot["id"] for snapshot in info(folder, name).get("snapshots", [])]
    return {id_ or "": hashlib.sha256(content(folder, name, id_)).hexdigest() for id_ in [None, *ids]}


def check(folder, name="x"):
    """(exit code, corruptions, leaks, all text)."""
    done = run(folder, QEMU_IMG, "check", "--output=json", name)
    answer = json.loads(done.stdout) if done.stdout else {}
    return done.returncode, answer.get("corruptions", 0), answer.get("leaks", 0), done.stdout + done.stderr


def assert_clean(folder, name="x"):
    code, corruptions, leaks, text = check(folder, name)
    assert (code, corruptions, leaks) == (0, 0, 0), text
