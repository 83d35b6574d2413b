"""The conformance kit over qcow2, with images that qemu-img and qemu-io made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
MAKERS = {
    "default": "",
    "v2, small clusters": "compat=0.10,cluster_size=512",
    "subclusters": "extended_l2=on,cluster_size=16k",
    "one-bit refcounts": "refcount_bits=1,cluster_size=4k",
    "preallocated": "preallocation=metadata",
    "zstd": "compression_type=zstd,cluster_size=8k",
    "aes": "encrypt.format=aes,encrypt.key-secret=s",
    "luks": "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,cluster_size=4k",
}
SECRET = ("--object", "secret,id=s,data=pw")
WRITES = ("write -P 1 0 100k", "write -P 2 1M 3k", "write -z 2M 64k", "discard 64k 64k", "write -c -P 3 3M 64k")


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def made_by_qemu(tmp_path_factory):
    """(name, path) of images of every kind."""
    if not QEMU_IMG or not QEMU_IO:
        return ()
    made, folder = [], tmp_path_factory.mktemp("corpus")
    for number, (name, options) in enumerate(MAKERS.items()):
        path = folder / f"{number}.qcow2"
        extra = ["-o", options] if options else []
        run(QEMU_IMG, "create", "-q", *SECRET, "-f", "qcow2", *extra, path, "4M")
        key = ",encrypt.key-secret=s" if "encrypt" in options else ""
        opened = (*SECRET, "--image-opts", f"driver=qcow2,file.filename={path}{key}")
        if "refcount_bits=1" not in options:
            # compressed content cannot go where clusters are allocated
            writes = WRITES[:-1] if "preallocation" in options else WRITES
            for step, write in enumerate(writes):
                run(QEMU_IO, *opened, "-c", write)
                if step == 2 and "preallocation" not in options:
                    run(QEMU_IMG, "snapshot", "-c", "a", *opened)
        made.append((f"{name}, by qemu", path))
    return made


class TestQcow2(FormatConformance):
    format = "qcow2"
    hostile_fields = (
        (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8),
        (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1),
    )  # fmt: skip

    @pytest.fixture
    def corpus(self, made_by_qemu):
        return made_by_qemu
