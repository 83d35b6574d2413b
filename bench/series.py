"""What grows, and what is measured while it does, as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.case import OUT, Case
from bench.images import GIB, KIB, MIB, Images, Recipe, converted, files
from bench.scatter import scatter

IMAGE = "@image.qcow2"
CLUSTER = 64 * KIB
SPOTS = 64
LAYER = 64 * MIB
"""Bytes of the disk of a chain."""
WRITES = 16
"""Clusters that each image of a chain holds."""


class Series(NamedTuple):
    """A quantity, the values that it takes, what makes the images for a value, the works, and up to which value each of
    them is measured where that is not the last."""

    name: str
    counts: str
    values: tuple[int, ...]
    recipes: Callable[[int], dict[str, Recipe]]
    works: tuple[Case, ...]
    most: dict[str, int]


def _sparse(size: int) -> dict[str, Recipe]:
    """The same data on a disk of any size: 64 clusters, evenly spread."""

    def make(images: Images, path: str) -> None:
        images.create(path, size)
        step = size // SPOTS
        images.write(path, [(number * step, CLUSTER, 1 + number % 255) for number in range(SPOTS)])

    return {"image.qcow2": make}


def _mapped(size: int) -> dict[str, Recipe]:
    """A disk of which every cluster has its place in the file."""
    return {"image.qcow2": lambda images, path: images.create(path, size, "-o", "preallocation=metadata")}


def _scattered(count: int) -> dict[str, Recipe]:
    """As many clusters, hardly two of which lie one after the other."""

    def make(images: Images, path: str) -> None:
        images.create(path, count * CLUSTER, "-o", "preallocation=metadata")
        scatter(path)

    return {"image.qcow2": make}


def _chain(depth: int) -> dict[str, Recipe]:
    """So many images over one another, each with a few clusters of its own."""

    def layer(number: int) -> Recipe:
        def make(images: Images, path: str) -> None:
            below = images.path(f"{number - 1}.qcow2") if number else ""
            images.create(path, LAYER, *(("-b", below, "-F", "qcow2") if below else ()))
            places = [(number * 5 + each * 67) % (LAYER // CLUSTER) * CLUSTER for each in range(WRITES)]
            images.write(path, [(place, CLUSTER, 1 + number) for place in places])

        return make

    names = [*(f"{number}.qcow2" for number in range(depth - 1)), "image.qcow2"]
    return {name: layer(number) for number, name in enumerate(names)}


def _filled(size: int) -> dict[str, Recipe]:
    """A disk full of data, raw, as qcow2, and compressed."""
    return {
        "image.raw": lambda images, path: files(path, size),
        "image.qcow2": converted("image.raw", "qcow2"),
        "zlib.qcow2": converted("image.raw", "qcow2", "-c", "-m", "2", "-W"),
    }


def _told(name: str, *words: str) -> Case:
    return Case(name, (*words, IMAGE), answers=True)


def _made(name: str, made: str, source: str, *options: str) -> Case:
    kind = source.rpartition(".")[2]
    return Case(name, ("convert", "-f", kind, "-O", made, *options, f"@{source}", OUT), made=made)


def _powers(first: int, last: int, factor: int) -> tuple[int, ...]:
    found = [first]
    while found[-1] < last:
        found.append(found[-1] * factor)
    return tuple(found)


MAP = _told("map", "map", "--output=json")
CHECK = _told("check", "check")
MEASURE = _told("measure", "measure", "-O", "qcow2", "-f", "qcow2")
CONVERT = _made("convert", "qcow2", "image.qcow2")

SERIES = (
    Series(
        "sizes",
        "bytes of a disk with 4 MiB of data",
        _powers(GIB, 16 << 40, 4),
        _sparse,
        (_told("info", "info"), MAP, CHECK, MEASURE, CONVERT),
        {},
    ),
    Series(
        "tables",
        "bytes of a disk with all clusters allocated",
        _powers(GIB, 4 << 40, 4),
        _mapped,
        (MAP, CHECK, MEASURE),
        {},
    ),
    Series("extents", "extents", _powers(1000, 10_000_000, 10), _scattered, (MAP, CHECK), {}),
    Series(
        "chains",
        "images in a chain",
        _powers(1, 64, 2),
        _chain,
        (_told("info", "info", "--backing-chain"), MAP, CONVERT),
        {},
    ),
    Series(
        "data",
        "bytes of data",
        _powers(16 * MIB, 4 * GIB, 4),
        _filled,
        (
            _made("raw to qcow2", "qcow2", "image.raw"),
            _made("qcow2 to raw", "raw", "image.qcow2"),
            _made("compress", "qcow2", "image.raw", "-c"),
            _made("decompress", "raw", "zlib.qcow2"),
        ),
        {"compress": GIB, "decompress": GIB},
    ),
)
