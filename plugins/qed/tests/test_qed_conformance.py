"""The conformance kit over QED, with images that qemu-img and qemu-io made, and some built by the specification."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
MAKERS = ("", "cluster_size=4k,table_size=2", "cluster_size=1M,table_size=16", "cluster_size=8k")
WRITES = ("write -P 1 0 100k", "write -P 2 1M 3k", "write -z 2M 64k", "write -P 3 3M 64k", "write -P 4 500k 12k")


class TestQed(FormatConformance):
    format = "qed"
    hostile_fields = ((4, 4), (8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8), (56, 4), (60, 4))
    fill_options = (
        {},
        {"cluster_size": "4k"},
        {"cluster_size": "4k", "table_size": "1"},
        {"cluster_size": "64k", "table_size": "16"},
        {"cluster_size": "2M", "table_size": "2"},
    )

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        size = (2 << 20) + 512
        mixed = {0: builder.DATA, 1: builder.DATA, 3: builder.ZERO, 4: builder.ZERO, 600: builder.DATA, 511: b"last"}
        made = [
            ("built", builder.build(size * 2, mixed)),
            ("built, in disorder", builder.build(size * 2, mixed, order=[600, 1, 3, 0, 511, 4], gap=[0])),
            ("built, tables of one cluster", builder.build(size, {0: builder.DATA, 512: builder.DATA}, table=1)),
            ("built, overlay", builder.build(size, mixed, table=16, header=3, backing=b"../base", features=6)),
        ]
        if not QEMU_IMG or not QEMU_IO:
            return made
        for number, options in enumerate(MAKERS):
            path = tmp_path / f"{number}.qed"
            extra = ["-o", options] if options else []
            subprocess.run([QEMU_IMG, "create", "-q", "-f", "qed", *extra, path, "4M"], check=True, capture_output=True)
            words = [word for write in WRITES for word in ("-c", write)]
            subprocess.run([QEMU_IO, "-f", "qed", *words, path], check=True, capture_output=True)
            made.append((f"{options or 'default'}, by qemu", path))
        return made
