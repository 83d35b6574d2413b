"""The conformance kit over parallels, with images that qemu-img and an independent builder made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")


class TestParallels(FormatConformance):
    format = "parallels"
    allowed_imports = ("_md5",)
    hostile_fields = (
        *((16, 4), (28, 4), (32, 4), (36, 8), (44, 4), (48, 4), (52, 4), (56, 8)),
        *((64, 4), (68, 4), (72, 4)),
    )
    fill_options = (
        *({}, {"cluster_size": "512"}, {"cluster_size": "32256"}, {"cluster_size": "65536"}),
        *({"cluster_size": "64M"}, {"cluster_size": "96M"}, {"cluster_size": "67109376"}),
    )

    @pytest.fixture
    def corpus(self, tmp_path, builder):
        sound = builder.build([None, 0, 2, None, 1, None])
        made = [
            ("built", sound),
            ("built, old magic", builder.build([2, None, 0, 1], magic=builder.OLD, tracks=63)),
            ("built, old magic, no data_off", builder.build([1, None, 0], magic=builder.OLD, data=0)),
            (
                "built with bitmaps",
                builder.extended(sound, builder.bitmap(768, 8, [(len(sound)) // 512]), builder.END, before=1),
            ),
        ]
        if not QEMU_IMG:
            return made
        source = tmp_path / "source.raw"
        with open(source, "wb") as file:
            for at, data in ((0, b"a" * 70_000), (3 << 20, b"b" * 5000)):
                file.seek(at)
                file.write(data)
            file.truncate((4 << 20) + 512)
        for cluster in ("65536", "1048576"):
            path = tmp_path / f"{cluster}.hdd"
            options = ["-O", "parallels", "-o", f"cluster_size={cluster}"]
            subprocess.run([QEMU_IMG, "convert", "-f", "raw", *options, source, path], check=True, capture_output=True)
            made.append((f"clusters of {cluster}, by qemu", path))
        return made
