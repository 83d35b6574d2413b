"""The conformance kit over compressed loop images: some by cloop's own tool where it is installed, some built here."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

TOOL = os.environ.get("INSTAR_CREATE_COMPRESSED_FS") or shutil.which("create_compressed_fs")


class TestCloop(FormatConformance):
    format = "cloop"
    hostile_fields = ((128, 4), (132, 4), (136, 8), (144, 8), (152, 8))

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        choose = random.Random(1)
        noise = [choose.randbytes(4096) if number % 3 else bytes([number]) * 4096 for number in range(40)]
        made = [
            ("small blocks", builder.build(noise)),
            ("one block", builder.build([bytes(512)], size=512)),
            ("large blocks", builder.build([bytes(1 << 20), b"ab" * (1 << 19)], size=1 << 20, tail=bytes(100))),
        ]
        if TOOL:
            flat, packed = tmp_path / "flat.img", tmp_path / "packed.cloop"
            flat.write_bytes(b"".join(noise) + b"end")
            subprocess.run([TOOL, "-q", "-B", "16384", flat, packed], check=True, capture_output=True)
            made.append(("by create_compressed_fs", packed))
        return made
