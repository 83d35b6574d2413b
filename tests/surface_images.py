"""Small images of each kind, made by QEMU's own programs, and which of them a command line needs."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from surface_values import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_core.testing.foreign import Programs

KIB = 1024
MADE = (
    "convert -f raw -O qcow2 d.raw d.qcow2", "convert -f raw -O qcow2 d.raw base.qcow2",
    "convert -f raw -O qcow2 d.raw a,b.qcow2", "convert -c -f raw -O qcow2 d.raw packed.qcow2",
    "convert -f raw -O qcow2 -o compat=0.10 d.raw old.qcow2",
    "convert -f raw -O qcow2 -o extended_l2=on,cluster_size=16k d.raw sub.qcow2",
    "convert -f raw -O qcow2 d.raw snap.qcow2", "convert -f raw -O qcow2 d.raw marked.qcow2",
    "convert -f raw -O qcow2 -o data_file=data.raw d.raw data.qcow2",
    "convert -f raw -O vmdk d.raw d.vmdk", "convert -f raw -O vmdk -o subformat=monolithicFlat d.raw flat.vmdk",
    "convert -f raw -O vdi d.raw d.vdi", "convert -f raw -O vpc d.raw d.vpc", "convert -f raw -O vhdx d.raw d.vhdx",
    "convert -f raw -O qed d.raw d.qed", "convert -f raw -O qcow d.raw d.qcow",
    "convert -f raw -O parallels d.raw d.parallels",
    f"convert -f raw -O luks --object {SECRET} -o key-secret=s,iter-time=10 d.raw d.luks",
    f"convert -f raw -O qcow2 --object {SECRET} -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    " d.raw sealed.qcow2",
    "create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2", "create -q -f qcow2 -b over.qcow2 -F qcow2 top.qcow2 2M",
    "create -q -f qcow2 -u -b not-here -F qcow2 orphan.qcow2 1M", "create -q -f qed -b base.qcow2 -F qcow2 over.qed",
    "bitmap --add marked.qcow2 b0", "bitmap --add -g 32k marked.qcow2 b1", "bitmap --disable marked.qcow2 b1",
    "snapshot -c one snap.qcow2", "snapshot -c two snap.qcow2",
)  # fmt: skip
WRITES = {
    "over.qcow2": "write -P 7 64k 100k",
    "top.qcow2": "write -P 8 1M 4k",
    "marked.qcow2": "write -P 9 192k 64k",
    "snap.qcow2": "write -P 5 0 64k",
    "over.qed": "write -P 6 0 64k",
}
BELOW = {
    "over.qcow2": ("base.qcow2",),
    "top.qcow2": ("over.qcow2", "base.qcow2"),
    "over.qed": ("base.qcow2",),
    "data.qcow2": ("data.raw",),
    "flat.vmdk": ("flat-flat.vmdk",),
}
"""The files that go with an image."""
ALWAYS = ("pass", "dir")


def make(folder: Path, programs: Programs) -> None:
    """The images stand in the folder."""
    disk = bytearray(1 << 20)
    disk[446:462] = bytes.fromhex("80000201830000000800000000080000")
    disk[510:512] = b"\x55\xaa"
    disk[100 * KIB : 170 * KIB] = b"content." * (70 * KIB // 8)
    disk[700 * KIB : 704 * KIB] = bytes(range(256)) * 16
    for name, content in (
        ("d.raw", bytes(disk)),
        ("small.raw", bytes(disk[: 64 * KIB])),
        ("odd.raw", bytes(disk[: 300 * KIB]) + b"\1" * 100),
        ("empty.raw", b""),
        ("pass", b"open"),
    ):
        (folder / name).write_bytes(content)
    (folder / "dir").mkdir()

    def run(program: str, *words: str) -> None:
        programs.run("env", "-C", folder, program, *words)

    for line in MADE:
        if line.startswith("snapshot -c two"):
            run(programs.qemu("qemu-io"), "-f", "qcow2", "-c", WRITES["snap.qcow2"], "snap.qcow2")
        run(programs.qemu(), *shlex.split(line))
    for name, what in WRITES.items():
        run(programs.qemu("qemu-io"), "-f", name.rpartition(".")[2], "-c", what, name)
    for name, cluster, count in (("leaky.qcow2", 12, 1), ("torn.qcow2", 5, 0)):
        shutil.copy(folder / "d.qcow2", folder / name)
        with open(folder / name, "r+b") as file:
            file.seek(48)
            table = int.from_bytes(file.read(8), "big")
            file.seek(table)
            file.seek(int.from_bytes(file.read(8), "big") + cluster * 2)
            file.write(count.to_bytes(2, "big"))


def needed(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Which of the names a command line speaks of, with all that goes with these."""
    text = " ".join(words).replace(",,", ",")
    found = list(ALWAYS)
    for name in names:
        if name in text:
            found += [name, *BELOW.get(name, ())]
    return sorted(set(found))
