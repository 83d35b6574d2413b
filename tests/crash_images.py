"""Images of every format, in all the shapes that they are changed in, with content chosen at random by a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crash_content import NOISE, NOISE_SIZE, update
from crash_cuts import Case, Refused, View, command, foreign
from histories import Layer, writes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

MIB = 1 << 20
LAYERED = ("qcow2", "qed", "qcow", "vmdk", "vhdx", "vpc")
OWN = ("vmdk", "vhdx", "vpc")
"""Formats whose backing files are of the same format."""
UNBACKED_BY_QEMU = ("vhdx", "vpc")
DEFAULT = "default"
"""As the value of an option: that it is not given."""
PLAIN = {"vmdk": "monolithicSparse", "vhdx": "dynamic", "vpc": "dynamic"}
"""The kind of image that may have a backing file."""


class Tools(NamedTuple):
    """QEMU's programs."""

    img: str
    io: str


class Workshop:
    """Makes images in a folder."""

    def __init__(self, folder: Path, random: Random, tools: Tools) -> None:
        self.folder = folder
        self.random = random
        self.tools = tools
        self.files: dict[str, tuple[str, ...]] = {}
        """The files of each image that was made, its own first."""
        (folder / NOISE).write_bytes(random.randbytes(NOISE_SIZE))

    def img(self, *words: object) -> bytes:
        """qemu-img."""
        return foreign(self.folder, self.tools.img, *words)

    def io(self, layer: Layer, *commands: str) -> None:
        """qemu-io; a command that the image is too small for does no harm."""
        words = [word for each in commands for word in ("-c", each)]
        foreign(self.folder, self.tools.io, *words, *layer.node, check=False)

    def image(self, name: str, format: str, below: Layer | None = None, size: int = 0, **chosen: object) -> Layer:
        """An image with content. Raises Refused where instar does not make it."""
        options, size, cluster = OPTIONS[format](self.random, size)
        if below is not None and format in PLAIN:
            options["subformat"] = PLAIN[format]
        options.update({key: str(value) for key, value in chosen.items()})
        if options.get("compat") == "0.10":
            options = {key: value for key, value in options.items() if key in ("compat", "cluster_size")}
        options = {key: value for key, value in options.items() if value != DEFAULT}
        if "data_file" in options:
            options["data_file"] = f"{name}.data"
        words = ["create", "-q", "-f", format]
        if options:
            words += ["-o", ",".join(f"{key}={value}" for key, value in options.items())]
        if below is not None:
            words += ["-b", below.name, "-F", below.format]
        there = set(self.folder.iterdir())
        if below is not None and format in UNBACKED_BY_QEMU:
            code, said = command(self.folder, *words, name, str(size))
            if code:
                raise Refused(said)
            self.files[name] = (name,)
            update(self.folder, format, name, size, False, self.random.randrange(1 << 30))
            return Layer(name, format, size, cluster)
        self.img(*words, name, size)
        made = sorted(path.name for path in set(self.folder.iterdir()) - there if path.name != name)
        self.files[name] = (name, *made)
        cluster = int(options.get("cluster_size", cluster))
        v3, external = options.get("compat") != "0.10", "data_file" in options
        layer = Layer(name, format, size, cluster, v3, external, ("-d", "unmap", "-f", format, name))
        self.fill(layer)
        return layer

    def fill(self, layer: Layer) -> None:
        """More content."""
        step = writes(self.random, layer)
        if "sigraise 9" not in step.words:
            foreign(self.folder, self.tools.io, *step.words, check=False)

    def case(self, operate: Callable[[], object], layer: Layer, content: str) -> Case:
        """One image that is changed."""
        return Case(self.folder, operate, self.files[layer.name], (View(layer.name, layer.format, content),))


def _raw(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {}, size or 512 * random.randint(100, 2000), 4096


def _qcow2(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    cluster = random.choice((512, 512, 1024, 2048, 4096, 4096, 16384, 65536))
    options = {"cluster_size": str(cluster), "compat": random.choice(("1.1", "1.1", "1.1", "0.10"))}
    if options["compat"] == "1.1":
        if cluster >= 16384 and random.random() < 0.5:
            options["extended_l2"] = "on"
        if random.random() < 0.4:
            options["refcount_bits"] = random.choice(("1", "2", "4", "8", "32", "64"))
        if random.random() < 0.2:
            options["lazy_refcounts"] = "on"
        if random.random() < 0.1:
            options["data_file"] = ""
    return options, size or 512 * random.randint(300, 1600), cluster


def _qed(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    options = {
        "cluster_size": random.choice(("4096", "8192", "65536")),
        "table_size": random.choice(("2", "2", "4")),
    }  # qemu opens none with 1
    return options, size or 512 * random.randint(300, 2000), 4096


def _vdi(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    options = {"static": "on"} if random.random() < 0.15 else {}
    return options, size or 512 * random.randint(4000, 9000), 65536


def _qcow(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {}, size or 512 * random.randint(300, 2000), 4096


def _parallels(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {"cluster_size": random.choice(("4096", "65536", "65536"))}, size or 512 * random.randint(300, 2000), 65536


def _vmdk(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    options = {"subformat": random.choice(("monolithicSparse",) * 4 + ("monolithicFlat", "twoGbMaxExtentSparse"))}
    if options["subformat"] != "monolithicFlat" and random.random() < 0.5:
        options["zeroed_grain"] = "on"
    return options, size or 512 * random.randint(300, 2000), 65536


def _vhdx(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    kind = random.choice(("dynamic",) * 6 + ("fixed",))
    return {"block_size": str(MIB), "subformat": kind}, size or MIB * random.randint(2, 5), 65536


def _vpc(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    kind = random.choice(("dynamic", "dynamic", "fixed"))
    return {"subformat": kind, "force_size": "on"}, size or 512 * random.randint(4000, 9000), 65536


OPTIONS: dict[str, Callable[[Random, int], tuple[dict[str, str], int, int]]] = {
    "raw": _raw,
    "qcow2": _qcow2,
    "qed": _qed,
    "vdi": _vdi,
    "qcow": _qcow,
    "parallels": _parallels,
    "vmdk": _vmdk,
    "vhdx": _vhdx,
    "vpc": _vpc,
}
"""Options, size and cluster size of a new image of the format."""


def history(shop: Workshop, layer: Layer, chance: float) -> list[str]:
    """Perhaps snapshots, with writes between; their names."""
    if shop.random.random() >= chance:
        return []
    names = [f"s{number}" for number in range(shop.random.choice((1, 1, 2, 3)))]
    for name in names:
        if shop.random.random() < 0.8:
            shop.fill(layer)
        foreign(shop.folder, shop.tools.img, "snapshot", "-c", name, layer.name, check=False)
        shop.fill(layer)
    listed = shop.img("snapshot", "-l", layer.name).decode()
    return [name for name in names if f" {name} " in listed] or []


def snapshotted(shop: Workshop, format: str) -> tuple[Layer, list[str]]:
    """An image with snapshots, and their names. Where refcounts are of one bit there can be none."""
    while True:
        layer = shop.image("disk", format)
        names = history(shop, layer, 1)
        if names:
            return layer, names


def backed(shop: Workshop, format: str) -> bool:
    """Whether an image of the format gets a raw backing file."""
    return format in ("qcow2", "qed", "qcow") and shop.random.random() < 0.4
