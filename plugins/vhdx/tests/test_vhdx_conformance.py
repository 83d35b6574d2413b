"""The conformance kit over vhdx, with images that qemu-img and qemu-io made, and Hyper-V-like ones, as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
HEADERS = tuple((place + at, width) for place in (65536, 131072) for at, width in ((8, 8), (48, 8), (68, 4), (72, 8)))
REGIONS = tuple((196608 + at, width) for at, width in ((8, 4), (32, 8), (40, 4), (64, 8), (72, 4)))


class TestVhdx(FormatConformance):
    format = "vhdx"
    hostile_fields = (*HEADERS, *REGIONS, (0x200000, 8), (0x310000, 4), (0x310004, 4), (0x310008, 8), (0x310020, 4))
    allowed_imports = ("crc32c",)

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        made = [(f"{name}, built by the specification", data) for name, data in builder.samples()]
        if not QEMU_IMG or not QEMU_IO:
            return made
        source = tmp_path / "source.raw"
        subprocess.run([QEMU_IMG, "create", "-q", "-f", "raw", source, "4M"], check=True, capture_output=True)
        for write in ("write -P 1 0 100k", "write -P 2 1M 3k", "write -P 3 3M 64k"):
            subprocess.run([QEMU_IO, "-f", "raw", "-c", write, source], check=True, capture_output=True)
        for options in ("subformat=dynamic", "subformat=dynamic,block_size=1M", "subformat=fixed,block_size=1M"):
            path = tmp_path / f"{options}.vhdx"
            command = [QEMU_IMG, "convert", "-f", "raw", "-O", "vhdx", "-o", options, source, path]
            subprocess.run(command, check=True, capture_output=True)
            made.append((f"{options}, by qemu", path))
        return made
