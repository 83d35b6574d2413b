"""The conformance kit over growing disks of Bochs: some by bximage where it is installed, some by the documentation."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

BXIMAGE = os.environ.get("INSTAR_BXIMAGE") or shutil.which("bximage")


class TestBochs(FormatConformance):
    format = "bochs"
    hostile_fields = ((0, 4), (32, 4), (48, 4), (64, 4), (68, 4), (72, 4), (76, 4), (80, 4), (84, 8), (88, 8))

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        size = (1 << 20) + 512
        some = [0, 1, 2, 8, 15, 16, 17, *range(64, 96), 1000, 2048]
        made = [
            ("version 2", builder.build(size, some)),
            (
                "version 1, in disorder",
                builder.build(size, some, version=builder.V1, order=[256, 0, 9, 2, 8, 1, 125, 10, 11]),
            ),
            ("large extents", builder.build(size, some, extent=1 << 19, bitmap=512)),
            ("empty", builder.build(size, [])),
        ]
        if BXIMAGE:
            flat, grown = tmp_path / "flat.img", tmp_path / "grown.img"
            flat.write_bytes(builder.disk(size + 512 * 1007, some))
            command = [BXIMAGE, "-q", "-func=convert", "-imgmode=growing", flat, grown]
            subprocess.run(command, check=True, capture_output=True)
            made.append(("by bximage", grown))
        return made
