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
}
WRITES = ("write -P 1 0 100k", "write -P 2 1M 3k", "write -z 2M 64k", "discard 64k 64k", "write -c -P 3 3M 64k")


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


class TestQcow2(FormatConformance):
    format = "qcow2"
    hostile_fields = (
        (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8),
        (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1),
    )  # fmt: skip

    @pytest.fixture
    def corpus(self, tmp_path):
        if not QEMU_IMG or not QEMU_IO:
            return ()
        made = []
        for number, (name, options) in enumerate(MAKERS.items()):
            path = tmp_path / f"{number}.qcow2"
            extra = ["-o", options] if options else []
            subprocess.run(
                [QEMU_IMG, "create", "-q", "-f", "qcow2", *extra, path, "4M"], check=True, capture_output=True
            )
            if "refcount_bits=1" not in options:
                # compressed content cannot go where clusters are allocated
                writes = WRITES[:-1] if "preallocation" in options else WRITES
                for step, write in enumerate(writes):
                    run(QEMU_IO, "-f", "qcow2", "-c", write, path)
                    if step == 2 and "preallocation" not in options:
                        run(QEMU_IMG, "snapshot", "-c", "a", path)
            made.append((f"{name}, by qemu", path))
        return made
