"""The images that are measured, made by QEMU's own programs when a case first asks for them."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import NamedTuple

from bench import offsets
from bench.measure import Failed
from bench.places import mounted
from bench.programs import Programs

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SEED = 20240229
ROOM, ROOM_AT_LEAST = 8, 96 * MIB
"""How many ordinary images a file system has room for, and how large these are taken to be at least."""


class Scale(NamedTuple):
    """Sizes in bytes: of ordinary images, of those that are compressed, of virtual disks that are nearly empty."""

    plain: int = GIB
    wide: int = 4 * GIB
    """Of two images that are compared; half of it is data."""
    coded: int = GIB // 2
    huge: int = TIB
    sparse: int = 100 * GIB
    spots: int = 512
    clusters: int = 28_000
    disk: int = 8 * GIB
    """Of a virtual disk that is changed in place."""
    every: int = 4 * MIB
    """From one MiB of data on such a disk to the next."""


QUICK = Scale(GIB // 4, GIB // 2, GIB // 32, TIB // 4, 25 * GIB, 128, 7_000, GIB)
SMOKE = Scale(16 * MIB, 32 * MIB, 4 * MIB, 16 * GIB, GIB, 16, 300, GIB, 64 * MIB)


class Images:
    """The images of one run, in a folder of their own, and those that lie on other file systems below it."""

    def __init__(self, folder: str, programs: Programs, scale: Scale, recipes: Mapping[str, Recipe] | None = None):
        self.folder = folder
        self.programs = programs
        self.scale = scale
        self._recipes = RECIPES if recipes is None else recipes
        self._needs: dict[str, set[str]] = {}
        self._making: list[str] = []
        self._places: dict[str, Images] = {}
        self._mounts = ExitStack()

    def at(self, place: str) -> Images:
        """The images on a file system of this kind; "" is the folder itself. Raises Unavailable."""
        if not place:
            return self
        if place not in self._places:
            there = Images(os.path.join(self.folder, place), self.programs, self.scale, self._recipes)
            size = ROOM * max(self.scale.plain, ROOM_AT_LEAST)
            there._mounts.enter_context(mounted(place, self.folder, size))
            self._places[place] = there
        return self._places[place]

    def leave(self) -> None:
        """None of its file systems is mounted any more, and what they held is gone."""
        for there in self._places.values():
            there.leave()
        self._places.clear()
        self._mounts.close()

    def path(self, name: str) -> str:
        """Where the image of this name lies; it is made if it does not exist yet. Raises Failed."""
        if self._making:
            self._needs[self._making[-1]].add(name)
        path = os.path.join(self.folder, name)
        if name not in self._needs:
            self._needs[name] = set()
            self._making.append(name)
            try:
                self._recipes[name](self, path)
            except BaseException:
                del self._needs[name]
                raise
            finally:
                self._making.pop()
        return path

    def drop_all_but(self, place: str, names: Iterable[str]) -> None:
        """Images on this kind of file system that neither these names mean nor one of these was made of are gone."""
        there = self._places.get(place) if place else self
        if there is None:
            return
        kept = set(names)
        if place and not kept:
            del self._places[place]
            there.leave()
            return
        while more := {other for name in kept for other in there._needs.get(name, ())} - kept:
            kept |= more
        for name in there._needs.keys() - kept:
            del there._needs[name]
            stem, _, suffix = name.rpartition(".")
            for path in (name, f"{stem}-flat.{suffix}"):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(there.folder, path))

    def create(self, path: str, size: int, *options: str, kind: str = "qcow2") -> None:
        """An empty image."""
        self.run(self.programs.qemu_img, "create", "-q", "-f", kind, *options, path, str(size))

    def write(self, path: str, places: list[tuple[int, int, int]]) -> None:
        """Every (offset, length, byte) is written to the qcow2 image, in this order."""
        script = "".join(f"write -q -P {byte} {offset} {length}\n" for offset, length, byte in places)
        self.run(self.programs.qemu_io, "-f", "qcow2", "-t", "writeback", path, given=script)

    def run(self, *words: str, given: str = "") -> None:
        """The program has ended well. Raises Failed."""
        done = subprocess.run(words, input=given, text=True, capture_output=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")


def mixed(path: str, size: int) -> None:
    """A raw disk of `size` bytes: every other MiB is noise, the one between compresses to half."""
    noise = random.Random(SEED)  # the same bytes in every run
    with open(path, "wb") as file:
        for number in range(size // MIB):
            file.write(noise.randbytes(MIB // 2).hex().encode() if number % 2 else noise.randbytes(MIB))


def files(path: str, size: int) -> None:
    """A raw disk with what a system's disk holds: the files of Python's own library, and every fourth MiB noise."""
    noise = random.Random(SEED)
    with open(path, "wb") as file:
        contents = _library()
        left = b""
        for number in range(size // MIB):
            if number % 4 == 3:
                file.write(noise.randbytes(MIB))
                continue
            while len(left) < MIB:
                left += next(contents)
            file.write(left[:MIB])
            left = left[MIB:]


def _library() -> Iterator[bytes]:
    """The files of Python's library, again and again."""
    root = sysconfig.get_path("stdlib")
    found = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    for path in itertools.cycle(sorted(path for path in found if "-packages" not in path and os.path.isfile(path))):
        with open(path, "rb") as file:
            yield file.read()


def wide(path: str, size: int) -> None:
    """A raw disk of which every other MiB is noise, and the one between a hole."""
    noise = random.Random(SEED)
    with open(path, "wb") as file:
        for at in range(0, size, 2 * MIB):
            file.seek(at)
            file.write(noise.randbytes(MIB))
        file.truncate(size)


def encrypted(source: str) -> Callable[[Images, str], None]:
    """A maker of a LUKS volume with the content of a raw image."""

    def make(images: Images, path: str) -> None:
        secret, options = ("--object", "secret,id=s,data=hush"), ("-o", "key-secret=s,iter-time=10")
        words = ("convert", *secret, "-f", "raw", "-O", "luks", *options, images.path(source), path)
        images.run(images.programs.qemu_img, *words)

    return make


def empty(size: int) -> Callable[[Images, str], None]:
    """A maker of a raw image that is one hole."""

    def make(images: Images, path: str) -> None:
        del images
        with open(path, "wb") as file:
            file.truncate(size)

    return make


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
    """A maker of an image of which one MiB in four is data (`every`); its base, if it has one, lies beside it."""

    def make(images: Images, path: str) -> None:
        over = ("-b", os.path.basename(images.path(base)), "-F", "qcow2") if base else ()
        images.create(path, images.scale.disk, *over)
        images.write(path, [(at + shift, MIB, byte) for at in range(0, images.scale.disk, images.scale.every)])

    return make


def snapped(images: Images, path: str) -> None:
    """Half of the data has changed since the snapshot."""
    quarter(7)(images, path)
    images.run(images.programs.qemu_img, "snapshot", "-c", "s", path)
    images.write(path, [(at, MIB, 8) for at in range(0, images.scale.disk, 2 * images.scale.every)])


def thin(images: Images, path: str) -> None:
    """Hardly any data over a base that has much."""
    images.create(path, images.scale.disk, "-b", os.path.basename(images.path("data.qcow2")), "-F", "qcow2")
    images.write(path, [(at, MIB, 9) for at in range(0, images.scale.disk, 16 * images.scale.every)])


def other(images: Images, path: str) -> None:
    """Like data.qcow2, but for half of its data."""
    quarter(7)(images, path)
    images.write(path, [(at, MIB, 8) for at in range(0, images.scale.disk, 2 * images.scale.every)])


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


def script(path: str, size: int) -> None:
    """What has qemu-io read at the offsets."""
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"read -q {offset} {offsets.PIECE}\n" for offset in offsets.scattered(size))


Recipe = Callable[[Images, str], None]
RECIPES: dict[str, Recipe] = {
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
    "mixed.vhdx": converted("mixed.raw", "vhdx"),
    "mixed.vpc": converted("mixed.raw", "vpc"),
    "mixed.vdi": converted("mixed.raw", "vdi"),
    "mixed.luks": encrypted("mixed.raw"),
    "tiny.raw": empty(64 * KIB),
    "tiny.luks": encrypted("tiny.raw"),
    "reads.qemu-io": lambda images, path: script(path, images.scale.plain),
    "wide.raw": lambda images, path: wide(path, images.scale.wide),
    "wide.qcow2": converted("wide.raw", "qcow2"),
    "files.raw": lambda images, path: files(path, images.scale.coded),
    "zlib.qcow2": converted("files.raw", "qcow2", "-c", "-m", "2", "-W"),
    "zstd.qcow2": converted("files.raw", "qcow2", "-c", "-m", "2", "-W", "-o", "compression_type=zstd"),
    "stream.vmdk": converted("files.raw", "vmdk", "-o", "subformat=streamOptimized"),
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
