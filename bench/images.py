"""The images that are measured, made by QEMU's own programs when a case first asks for them."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from bench.programs import Programs

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SEED = 20240229


class Scale(NamedTuple):
    """Sizes in bytes: of ordinary images, of those that are compressed, of virtual disks that are nearly empty."""

    plain: int = GIB
    coded: int = GIB // 8
    huge: int = TIB
    sparse: int = 100 * GIB
    spots: int = 512
    clusters: int = 28_000
    disk: int = 8 * GIB
    """Bytes of a virtual disk that is changed in place; a quarter of it is data."""


QUICK = Scale(GIB // 4, GIB // 32, TIB // 4, 25 * GIB, 128, 7_000, GIB)


class Images:
    """The images of one run, in a folder of their own."""

    def __init__(self, folder: str, programs: Programs, scale: Scale) -> None:
        self.folder = folder
        self.programs = programs
        self.scale = scale

    def path(self, name: str) -> str:
        """Where the image of this name lies; it is made if it does not exist yet."""
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            RECIPES[name](self, path)
        return path

    def create(self, path: str, size: int, *options: str, kind: str = "qcow2") -> None:
        """An empty image."""
        self.run(self.programs.qemu_img, "create", "-q", "-f", kind, *options, path, str(size))

    def write(self, path: str, places: list[tuple[int, int, int]]) -> None:
        """Every (offset, length, byte) is written to the qcow2 image, in this order."""
        script = "".join(f"write -q -P {byte} {offset} {length}\n" for offset, length, byte in places)
        self.run(self.programs.qemu_io, "-f", "qcow2", "-t", "writeback", path, given=script)

    def run(self, *words: str, given: str = "") -> None:
        """The program has ended well. Raises CalledProcessError."""
        subprocess.run(words, input=given, text=True, stdout=subprocess.DEVNULL, check=True)


def mixed(path: str, size: int) -> None:
    """A raw disk of `size` bytes: every other MiB is noise, the one between compresses to half."""
    noise = random.Random(SEED)  # the same bytes in every run
    with open(path, "wb") as file:
        for number in range(size // MIB):
            file.write(noise.randbytes(MIB // 2).hex().encode() if number % 2 else noise.randbytes(MIB))


def small(images: Images, path: str) -> None:
    images.create(path, 64 * MIB)
    images.write(path, [(0, MIB, 0), (8 * MIB, MIB, 7)])


def fragmented(images: Images, path: str) -> None:
    """Clusters lie in the file in another order than on the disk, so that hardly two of them make one extent."""
    cluster = 32 * KIB
    count = images.scale.clusters
    order = list(range(count + count // 8))
    random.Random(SEED).shuffle(order)
    images.create(path, len(order) * cluster, "-o", f"cluster_size={cluster}")
    images.write(path, [(number * cluster, cluster, 1 + number % 255) for number in order[:count]])


def sparse(images: Images, path: str) -> None:
    """MiBs of data, evenly spread over a disk that is empty otherwise."""
    step = images.scale.sparse // images.scale.spots // MIB * MIB
    images.create(path, images.scale.sparse)
    images.write(path, [(number * step, MIB, 1 + number % 255) for number in range(images.scale.spots)])


def quarter(byte: int, shift: int = 0, base: str = "") -> Callable[[Images, str], None]:
    """A maker of an image of which one MiB in four is data; its base, if it has one, lies beside it."""

    def make(images: Images, path: str) -> None:
        over = ("-b", os.path.basename(images.path(base)), "-F", "qcow2") if base else ()
        images.create(path, images.scale.disk, *over)
        images.write(path, [(at + shift, MIB, byte) for at in range(0, images.scale.disk, 4 * MIB)])

    return make


def snapped(images: Images, path: str) -> None:
    """Half of the data has changed since the snapshot."""
    quarter(7)(images, path)
    images.run(images.programs.qemu_img, "snapshot", "-c", "s", path)
    images.write(path, [(at, MIB, 8) for at in range(0, images.scale.disk, 8 * MIB)])


def thin(images: Images, path: str) -> None:
    """Hardly any data over a base that has much."""
    images.create(path, images.scale.disk, "-b", os.path.basename(images.path("data.qcow2")), "-F", "qcow2")
    images.write(path, [(at, MIB, 9) for at in range(0, images.scale.disk, 64 * MIB)])


def other(images: Images, path: str) -> None:
    """Like data.qcow2, but for half of its data."""
    quarter(7)(images, path)
    images.write(path, [(at, MIB, 8) for at in range(0, images.scale.disk, 8 * MIB)])


def overlay(base: str, shift: int) -> Callable[[Images, str], None]:
    """A maker of an image over another that has changed one MiB in four."""

    def make(images: Images, path: str) -> None:
        images.create(path, images.scale.plain, "-b", images.path(base), "-F", "qcow2")
        images.write(path, [(at + shift, MIB, 99) for at in range(0, images.scale.plain, 4 * MIB)])

    return make


def converted(source: str, kind: str, *options: str) -> Callable[[Images, str], None]:
    """A maker of an image with the content of a raw one."""

    def make(images: Images, path: str) -> None:
        words = ("convert", "-f", "raw", "-O", kind, *options, images.path(source), path)
        images.run(images.programs.qemu_img, *words)

    return make


RECIPES: dict[str, Callable[[Images, str], None]] = {
    "small.qcow2": small,
    "small.raw": lambda images, path: images.create(path, 64 * MIB, kind="raw"),
    "small.vmdk": lambda images, path: images.create(path, 64 * MIB, kind="vmdk"),
    "huge.qcow2": lambda images, path: images.create(path, images.scale.huge, "-o", "preallocation=metadata"),
    "fragmented.qcow2": fragmented,
    "sparse.qcow2": sparse,
    "mixed.raw": lambda images, path: mixed(path, images.scale.plain),
    "mixed.qcow2": converted("mixed.raw", "qcow2"),
    "mixed.vmdk": converted("mixed.raw", "vmdk"),
    "flat.vmdk": converted("mixed.raw", "vmdk", "-o", "subformat=monolithicFlat"),
    "part.raw": lambda images, path: mixed(path, images.scale.coded),
    "zlib.qcow2": converted("part.raw", "qcow2", "-c"),
    "zstd.qcow2": converted("part.raw", "qcow2", "-c", "-o", "compression_type=zstd"),
    "zlib-large.qcow2": converted("mixed.raw", "qcow2", "-c", "-m", "2", "-W"),
    "zstd-large.qcow2": converted("mixed.raw", "qcow2", "-c", "-m", "2", "-W", "-o", "compression_type=zstd"),
    "stream.vmdk": converted("part.raw", "vmdk", "-o", "subformat=streamOptimized"),
    "data.qcow2": quarter(7),
    "other.qcow2": other,
    "snapped.qcow2": snapped,
    "empty.qcow2": lambda images, path: images.create(path, images.scale.disk),
    "over.qcow2": quarter(9, MIB, "empty.qcow2"),
    "thin.qcow2": thin,
    "middle.qcow2": overlay("mixed.qcow2", 0),
    "top.qcow2": overlay("middle.qcow2", MIB),
}
"""Name → what makes the image at a path."""
