"""The verbs amend and resize as a user calls them, told and done as qemu-img tells and does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import registry

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
pytestmark = [
    pytest.mark.skipif(not QEMU_IMG, reason="qemu-img is not installed"),
    pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed"),
    pytest.mark.oracle,
]
MIB = 1 << 20

Call = Callable[..., tuple[int, str, str]]


def qemu(*words: str) -> tuple[int, str, str]:
    assert QEMU_IMG
    done = subprocess.run([QEMU_IMG, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def content(name: str) -> bytes:
    assert qemu("convert", "-O", "raw", name, "content.raw")[0] == 0
    return Path("content.raw").read_bytes()


OPTIONS = [
    "compat=0.10", "compat=foo", "lazy_refcounts=on", "lazy_refcounts=maybe", "refcount_bits=1", "refcount_bits=3",
    "refcount_bits=abc", "refcount_bits=-1", "backing_file=foo", "backing_fmt=raw", "data_file=foo", "data_file_raw=on",
    "data_file_raw=off", "size=2M", "size=512k", "size=0", "size=1000", "size=abc", "encryption=on", "cluster_size=64k",
    "encrypt.state=active", "foo=bar", "lazy_refcounts=on,compat=0.10", "refcount_bits=8,compat=1.1",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_amend_says_and_does_what_qemu_img_does(instar: Call, options: str) -> None:
    assert qemu("create", "-q", "-f", "qcow2", "x", "1M")[0] == 0
    shutil.copy("x", "q")
    assert instar("amend", "-o", options, "x") == qemu("amend", "-o", options, "q")
    ours, theirs = (json.loads(qemu("info", "--output=json", name)[1]) for name in "xq")
    assert ours["format-specific"] == theirs["format-specific"]
    assert ours["virtual-size"] == theirs["virtual-size"]
    assert qemu("check", "x")[0] == 0


def test_an_image_is_opened_before_its_options_are_judged(instar: Call) -> None:
    assert qemu("create", "-q", "-f", "qcow2", "x", "1M")[0] == 0
    with open("x", "r+b") as file:
        file.seek(79)
        file.write(b"\x02")
    for option in ("compression_type=zstd", "nonsense=1", "lazy_refcounts=on"):
        words = ("amend", "-f", "qcow2", "-o", option)
        told = instar(*words, "x")
        assert told == qemu(*words, "x")
        assert "Image is corrupt; cannot be opened read/write" in told[2]
        assert instar(*words, "none") == qemu(*words, "none")
    assert instar("amend", "-f", "raw", "-o", "size=2M", "none") == qemu("amend", "-f", "raw", "-o", "size=2M", "none")


def test_amend_lists_its_options_as_qemu_img_does(instar: Call) -> None:
    assert instar("amend", "-f", "qcow2", "-o", "help") == qemu("amend", "-f", "qcow2", "-o", "help")


def test_amend_draws_its_progress_from_0_to_100(instar: Call) -> None:
    qemu("create", "-q", "-f", "qcow2", "x", "1M")
    assert instar("amend", "-p", "-o", "refcount_bits=8", "x") == (
        0,
        "    (0.00/100%)\r    (100.00/100%)\r\n",
        "",
    )
    assert instar("amend", "-p", "-q", "-o", "refcount_bits=16", "x") == (0, "", "")


def test_a_last_unit_that_is_belows_becomes_the_images_own_when_the_disk_grows(instar: Call) -> None:
    Path("s").write_bytes(b"\x07" * (4 * MIB))
    assert qemu("convert", "-f", "raw", "-O", "qcow2", "s", "b")[0] == 0
    size = 1000 * 1024 + 512
    assert qemu("create", "-q", "-f", "qcow2", "-b", "b", "-F", "qcow2", "x", str(size))[0] == 0
    assert instar("resize", "x", "2M") == (0, "Image resized.\n", "")
    assert content("x") == (b"\x07" * size).ljust(2 * MIB, b"\0")
    assert qemu("check", "x")[0] == 0


def test_a_compressed_last_cluster_ends_in_zeros_when_the_disk_grows(instar: Call) -> None:
    """quirk("resize-uncovers-nothing")"""
    Path("s").write_bytes(b"\x05" * MIB)
    assert qemu("convert", "-c", "-f", "raw", "-O", "qcow2", "s", "x")[0] == 0
    assert qemu("resize", "-q", "--shrink", "x", "1000k")[0] == 0
    assert instar("resize", "x", "1M") == (0, "Image resized.\n", "")
    assert content("x") == (b"\x05" * 1000 * 1024).ljust(MIB, b"\0")
    assert qemu("check", "x")[0] == 0


def test_an_encrypted_disk_grows_by_zeros_preallocated_ones_too(instar: Call) -> None:
    secret = ("--object", "secret,id=s,data=abc")
    image = "driver=qcow2,encrypt.key-secret=s,file.filename=x"
    Path("s").write_bytes(b"\x05" * MIB)
    made = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    assert instar("convert", *secret, "-f", "raw", "-O", "qcow2", "-o", made, "s", "x")[0] == 0
    for words in (("--shrink", image, "1000k"), (image, "1M"), ("--preallocation=falloc", image, "2M")):
        assert instar("resize", *secret, "--image-opts", *words)[0] == 0
        assert qemu("check", *secret, "--image-opts", image)[0] == 0
    assert qemu("convert", *secret, "--image-opts", image, "-O", "raw", "o")[0] == 0
    assert Path("o").read_bytes() == (b"\x05" * 1000 * 1024).ljust(2 * MIB, b"\0")


@pytest.mark.parametrize("words", [("+1M",), ("--shrink", "512k"), ("512k",), ("1000",), ("1E",), ("0",)])
def test_resize_says_what_qemu_img_says(instar: Call, words: tuple[str, ...]) -> None:
    assert qemu("create", "-q", "-f", "qcow2", "x", "1M")[0] == 0
    shutil.copy("x", "q")
    *flags, size = words
    assert instar("resize", *flags, "x", size) == qemu("resize", *flags, "q", size)
    assert qemu("check", "x")[0] == 0


def test_an_image_with_a_bitmap_in_use_is_not_resized(instar: Call) -> None:
    assert qemu("create", "-q", "-f", "qcow2", "x", "1M")[0] == 0
    assert qemu("bitmap", "--add", "x", "b")[0] == 0
    data = bytearray(Path("x").read_bytes())
    place = data.index(b"\0\0\0\2\1\x10\0\1")
    data[place + 3] |= 1
    Path("x").write_bytes(data)
    shutil.copy("x", "q")
    assert instar("resize", "x", "2M") == qemu("resize", "q", "2M")
