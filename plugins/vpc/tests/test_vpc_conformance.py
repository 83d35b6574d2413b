"""The conformance kit over vpc, with images of qemu and of our own builder as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
FOOTER = ((0, 8), (16, 8), (28, 4), (40, 8), (48, 8), (56, 2), (58, 1), (59, 1), (60, 4), (64, 4), (84, 1))
HEADER = ((0, 8), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4), (64, 2), (576, 4), (584, 4), (592, 8))


def by_hand(builder):
    """A child that has some of its sectors, named every way; old and new fixed disks; small blocks out of order."""
    name = "base.vhd".encode("utf-16-le")
    names = ((b"W2ru", name), (b"MacX", b"file://./base.vhd"), (b"W2ku", name))
    some = {1: (b"ab" * 5000, (0, 1, 2, 3, 7, 8, 9, 200)), 0: (b"x" * 4096, (4095,))}
    parent = {"parent": bytes(range(16, 32)), "name": "base.vhd"}
    small = {number: (bytes([number]) * 4096, None) for number in (5, 4, 0, 9, 10, 11)}
    return [
        ("child", builder.dynamic(5 << 20, some, kind=4, names=names, header_fields=parent)),
        ("small blocks", builder.dynamic(50_000, small, block=4096)),
        ("fixed", builder.fixed(b"content" * 10_240)),
        ("fixed and old", builder.fixed(b"content!" * 10_240, old=True)),
        ("no footer at the end", builder.dynamic(3 << 20, {0: (b"x", None)}, tail=False)),
    ]


class TestVpc(FormatConformance):
    format = "vpc"
    fill_options = ({}, {"subformat": "fixed"}, {"force_size": "on"}, {"subformat": "fixed", "force_size": "on"})
    measure_slack = (2 << 20) + 512  # rounding up to cylinders can take a block of its own
    hostile_fields = (*FOOTER, *((512 + at, width) for at, width in HEADER), (1536, 4), (1540, 4))

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        made = by_hand(builder)
        if not QEMU_IMG or not QEMU_IO:
            return made
        for name in ("dynamic", "fixed"):
            path = tmp_path / f"{name}.vhd"
            options = f"subformat={name},force_size=on"
            subprocess.run([QEMU_IMG, "create", "-q", "-f", "vpc", "-o", options, path, "7M"], check=True)
            for write in ("write -P 1 5M 100k", "write -P 2 1M 3k", "write -P 3 3M 64k"):
                subprocess.run([QEMU_IO, "-f", "vpc", "-c", write, path], check=True, capture_output=True)
            made.append((f"{name}, by qemu", path))
        return made
