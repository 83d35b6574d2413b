"""The conformance kit over vmdk, with images that qemu-img and qemu-io made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")


class TestVmdk(FormatConformance):
    format = "vmdk"
    hostile_fields = ((4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8), (64, 8), (77, 2))

    @pytest.fixture
    def corpus(self, tmp_path):
        if not QEMU_IMG or not QEMU_IO:
            return ()
        source = tmp_path / "source.raw"
        subprocess.run([QEMU_IMG, "create", "-q", "-f", "raw", source, "4M"], check=True, capture_output=True)
        for write in ("write -P 1 0 100k", "write -P 2 1M 3k", "write -P 3 3M 64k"):
            subprocess.run([QEMU_IO, "-f", "raw", "-c", write, source], check=True, capture_output=True)
        made = []
        for name in SUBFORMATS:
            path = tmp_path / f"{name}.vmdk"
            command = [QEMU_IMG, "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={name}", source, path]
            subprocess.run(command, check=True, capture_output=True)
            made.append((f"{name}, by qemu", path))
        return made
