"""The conformance kit over qcow, with images that qemu-img and qemu-io made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")


def made(folder):
    """(name, path) of images of every kind that qemu makes."""
    if not QEMU_IMG or not QEMU_IO:
        return ()
    found = []

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    def image(name, *options, writes=()):
        run(QEMU_IMG, "create", "-q", "-f", "qcow", *options, name)
        if writes:
            run(QEMU_IO, "-f", "qcow", *(word for write in writes for word in ("-c", write)), name)
        found.append((name, folder / name))

    run(QEMU_IMG, "create", "-q", "-f", "raw", "base.raw", "3M")
    run(
        QEMU_IO, "-f", "raw", "-c", "write -P 1 0 100k", "-c", "write -P 2 1M 3k", "-c", "write -P 3 2M 64k", "base.raw"
    )
    image("empty.qcow", "-o", "size=5M")
    image("plain.qcow", "-o", "size=5M", writes=("write -P 1 64k 100k", "write -P 2 4M 3k", "write -P 3 0 4k"))
    image("mixed.qcow", "-o", "size=5M", writes=("write -c -P 1 64k 4k", "write -P 2 68k 8k", "write -c -P 3 76k 4k"))
    # qemu-img 11.1 ends with 1 here, without a word; the image is whole.
    squeeze = (QEMU_IMG, "convert", "-c", "-f", "raw", "-O", "qcow", "base.raw", "compressed.qcow")
    subprocess.run(squeeze, check=False, capture_output=True, cwd=folder)
    found.append(("compressed.qcow", folder / "compressed.qcow"))
    image("over.qcow", "-b", "base.raw", "-F", "raw", writes=("write -P 9 64k 70k", "write -P 8 2M 512"))
    secret = ("--object", "secret,id=s,data=abc")
    run(QEMU_IMG, "create", "-q", *secret, "-f", "qcow", "-o", "encryption=on,encrypt.key-secret=s,size=2M", "aes.qcow")
    opened = ("--image-opts", "driver=qcow,encrypt.key-secret=s,file.filename=aes.qcow")
    run(QEMU_IO, *secret, "-c", "write -P 1 64k 100k", "-c", "write -P 2 1M 3k", *opened)
    found.append(("aes.qcow", folder / "aes.qcow"))
    return tuple(found)


class TestQcow(FormatConformance):
    format = "qcow"
    hostile_fields = ((4, 4), (8, 8), (16, 4), (24, 8), (32, 1), (33, 1), (36, 4), (40, 8), (48, 8))

    @pytest.fixture
    def corpus(self, tmp_path):
        return made(tmp_path)
