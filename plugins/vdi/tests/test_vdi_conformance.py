"""The conformance kit over vdi, with images that qemu-img and an independent builder made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")


class TestVdi(FormatConformance):
    format = "vdi"
    hostile_fields = (
        *((0x40, 4), (0x44, 4), (0x4C, 4), (0x154, 4), (0x158, 4), (0x168, 4)),
        *((0x170, 8), (0x178, 4), (0x17C, 4), (0x180, 4), (0x184, 4), (512, 4), (516, 4)),
    )

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        made = [
            ("built", builder.build([None, 0, 2, builder.DISCARDED, 1, None])),
            ("built with small blocks", builder.build([2, None, 0, 1], block=65536, bmap=1024)),
            ("built with extra data", builder.build([1, None, 0], block=65536, extra=512)),
        ]
        if not QEMU_IMG:
            return made
        source = tmp_path / "source.raw"
        with open(source, "wb") as file:
            for at, data in ((0, b"a" * 70_000), (3 << 20, b"b" * 5000)):
                file.seek(at)
                file.write(data)
            file.truncate((4 << 20) + 512)
        for static in ("off", "on"):
            path = tmp_path / f"{static}.vdi"
            command = [QEMU_IMG, "convert", "-f", "raw", "-O", "vdi", "-o", f"static={static}", source, path]
            subprocess.run(command, check=True, capture_output=True)
            made.append((f"static={static}, by qemu", path))
        return made
