"""Images of every format, and what is done to them while the power is cut: chosen at random by a seed.

What a plugin or the command line cannot do yet is not there: `available` tells what is.
"""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from crash_cuts import ANY, EITHER, LENIENT, SAME, SECTORS, Case, Missing, Refused, View, command, deed, foreign
from histories import Layer, writes

from instar_core import registry
from instar_core.changing import Changing
from instar_core.cli.main import VERBS
from instar_core.keyring import Keyring
from instar_core.piece import Piece
from instar_core.types import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from instar_core.settings import Settings

KIB, MIB = 1 << 10, 1 << 20
NOISE = "noise"


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
        (folder / NOISE).write_bytes(random.randbytes(256 * KIB))

    def img(self, *words: object) -> bytes:
        """qemu-img."""
        return foreign(self.folder, self.tools.img, *words)

    def io(self, layer: Layer, *commands: str) -> None:
        """qemu-io; a command that the image is too small for does no harm."""
        words = [word for each in commands for word in ("-c", each)]
        foreign(self.folder, self.tools.io, *words, *layer.node, check=False)

    def image(self, name: str, format: str, below: Layer | None = None, size: int = 0, **chosen: object) -> Layer:
        """An image with content."""
        random = self.random
        options, size, cluster = OPTIONS[format](random, size)
        options.update({key: str(value) for key, value in chosen.items()})
        if below is not None and format == "vpc":
            options["subformat"] = "dynamic"
        words = ["create", "-q", "-f", format]
        if options:
            words += ["-o", ",".join(f"{key}={value}" for key, value in options.items())]
        if below is not None:
            words += ["-b", below.name, "-F", below.format]
        if below is not None and format in ("vhdx", "vpc"):  # qemu-img makes none with a backing file
            code, said = command(self.folder, *words, name, str(size))
            if code:
                raise Refused(said)
            _update(self.folder, format, name, size, False, random.randrange(1 << 30))
            return Layer(name, format, size, cluster)
        self.img(*words, name, size)
        cluster = int(options.get("cluster_size", cluster))
        v3 = options.get("compat") != "0.10"
        layer = Layer(name, format, size, cluster, v3, node=("-d", "unmap", "-f", format, name))
        self.fill(layer)
        return layer

    def fill(self, layer: Layer) -> None:
        """More content."""
        step = writes(self.random, layer)
        if "sigraise 9" not in step.words:
            foreign(self.folder, self.tools.io, *step.words, check=False)


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
    return options, size or 512 * random.randint(300, 1600), cluster


def _qed(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    options = {
        "cluster_size": random.choice(("4096", "8192", "65536")),
        "table_size": random.choice(("2", "2", "4")),
    }  # qemu opens none with 1
    return options, size or 512 * random.randint(300, 2000), 4096


def _blocks(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {}, size or 512 * random.randint(4000, 9000), 65536


def _qcow(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {}, size or 512 * random.randint(300, 2000), 4096


def _parallels(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {"cluster_size": random.choice(("4096", "65536", "65536"))}, size or 512 * random.randint(300, 2000), 65536


def _vmdk(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    options = {"subformat": "monolithicSparse"}
    if random.random() < 0.5:
        options["zeroed_grain"] = "on"
    return options, size or 512 * random.randint(300, 2000), 65536


def _vhdx(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    return {"block_size": str(MIB), "subformat": "dynamic"}, size or MIB * random.randint(2, 5), 65536


def _vpc(random: Random, size: int) -> tuple[dict[str, str], int, int]:
    kind = random.choice(("dynamic", "dynamic", "fixed"))
    return {"subformat": kind, "force_size": "on"}, size or 512 * random.randint(4000, 9000), 65536


OPTIONS: dict[str, Callable[[Random, int], tuple[dict[str, str], int, int]]] = {
    "raw": _raw,
    "qcow2": _qcow2,
    "qed": _qed,
    "vdi": _blocks,
    "qcow": _qcow,
    "parallels": _parallels,
    "vmdk": _vmdk,
    "vhdx": _vhdx,
    "vpc": _vpc,
}
"""Options, size and cluster size of a new image of the format."""


def resize(shop: Workshop, format: str) -> Case:
    """The disk grows or shrinks."""
    layer = shop.image("disk", format, shop.image("base", "raw") if _backed(shop, format) else None)
    if format == "qcow2" and layer.v3:
        _history(shop, layer, 0.3)
    random = shop.random
    words = ["resize", "-q", "-f", format]
    step = max(512, layer.size // 512 * 512 // 3)
    size = layer.size + 512 * random.randint(1, random.choice((1, 20, 4000)))
    if random.random() < 0.4:
        size = max(512, layer.size - 512 * random.randint(1, step // 512 * 2))
        words.append("--shrink")
    elif format in ("raw", "qcow2") and random.random() < 0.5:
        modes = ("falloc", "full") if format == "raw" else ("metadata", "falloc", "full")
        words.append(f"--preallocation={random.choice(modes)}")
    case = _case(shop, deed(shop.folder, *words, "disk", str(size)), layer, EITHER)
    if format == "vpc" and not (shop.folder / "disk").read_bytes().startswith(b"conectix"):
        return case._replace(ordered=True)  # a fixed disk's only footer is the end of its file
    return case


def take(shop: Workshop, format: str) -> Case:
    """A snapshot is made."""
    layer = shop.image("disk", format)
    _history(shop, layer, 0.6)
    return _case(shop, deed(shop.folder, "snapshot", "-c", "new", "disk"), layer, SAME)


def drop(shop: Workshop, format: str) -> Case:
    """A snapshot is deleted."""
    layer, names = _snapshotted(shop, format)
    words = ("snapshot", "-d", shop.random.choice(names), "disk")
    return _case(shop, deed(shop.folder, *words), layer, SAME)


def revert(shop: Workshop, format: str) -> Case:
    """A snapshot is applied."""
    layer, names = _snapshotted(shop, format)
    words = ("snapshot", "-a", shop.random.choice(names), "disk")
    return _case(shop, deed(shop.folder, *words), layer, EITHER)


def update(shop: Workshop, format: str) -> Case:
    """Other content is written over some of the image's."""
    backed = _backed(shop, format)
    layer = shop.image("disk", format, shop.image("base", "raw", size=512 * 700) if backed else None)
    if format == "qcow2":
        _history(shop, layer, 0.4)
    compress = format in ("qcow2", "qcow") and shop.random.random() < 0.25
    operate = partial(_update, shop.folder, format, "disk", layer.size, compress, shop.random.randrange(1 << 30))
    return _case(shop, operate, layer, SECTORS)


def _update(
    folder: Path,
    format: str,
    name: str,
    size: int,
    compress: bool,
    seed: int,
    settings: Settings = LENIENT,
    options: dict[str, object] | None = None,
) -> None:
    """Random units are zeros, or random bytes from a file of such."""
    random = Random(seed)
    source = os.open(folder / NOISE, os.O_RDONLY)

    def pieces(unit: int) -> Iterator[Piece]:
        at = 0
        while at < size:
            length = min(unit * random.choice((1, 1, 2, 5)), size - at)
            what = random.random()
            if what < 0.25:
                yield Piece(at, length, True)
            elif what < 0.5:
                length = min(length, 256 * KIB // unit * unit or length)
                if length <= 256 * KIB:
                    yield Piece(at, length, False, source, random.randrange(0, 256 * KIB - length + 1, 512))
            at += length

    try:
        with Changing(str(folder / name), settings, format=format, options=options) as image:
            image.update(pieces, compress=compress)
    finally:
        os.close(source)


def convert(shop: Workshop, format: str) -> Case:
    """A disk is converted into the image, which may be longer."""
    random = shop.random
    backed = _backed(shop, format)
    base = shop.image("base", "raw", size=512 * 700) if backed else None
    layer = shop.image("disk", format, base)
    if format == "qcow2":
        _history(shop, layer, 0.4)
    size = random.choice((layer.size, 512 * random.randint(1, layer.size // 512)))
    if backed and random.random() < 0.3:
        source = shop.image("new", "qcow2", base, size=size)
        words = ["-B", "base", "-f", "qcow2"]
    else:
        source = shop.image("new", "raw", size=size)
        words = ["-f", "raw"]
    if format in ("qcow2", "qcow") and random.random() < 0.2:
        words.append("-c")
    words += ["-S", random.choice(("0", "4k", "64k")), "-t", random.choice(("none", "writeback", "writethrough"))]
    operate = deed(shop.folder, "convert", "-n", *words, "-O", format, source.name, "disk")
    return _case(shop, operate, layer, SECTORS)


def commit(shop: Workshop, format: str) -> Case:
    """What an overlay holds goes to its base; the overlay reads the same all the time."""
    random = shop.random
    below = format if format in OWN else random.choice(("raw", format))
    base = shop.image("base", below)
    if below == "qcow2":
        _history(shop, base, 0.3)
    layer = shop.image("disk", format, base, size=random.choice((0, base.size)))
    if format == "qcow2":
        _history(shop, layer, 0.15)
    keep = ("-d",) if random.random() < 0.3 else ()
    operate = deed(shop.folder, "commit", "-q", *keep, "-f", format, "disk")
    views = (View("disk", format, SAME), View("base", below, ANY))
    return Case(shop.folder, operate, ("disk", "base"), views)


def rebase(shop: Workshop, format: str) -> Case:
    """The image gets another backing file, its first, or none, and reads the same."""
    random = shop.random
    below = format if format in OWN else "raw"
    base = shop.image("base", below) if random.random() < 0.7 else None
    layer = shop.image("disk", format, base)
    if format == "qcow2":
        _history(shop, layer, 0.3)
    other = shop.image("another-base-of-it", below) if random.random() < 0.7 or base is None else None
    words = ["rebase", "-f", format, "-b", other.name if other else ""]
    words += ["-F", other.format] if other else []
    words += ["-c"] if format == "qcow2" and random.random() < 0.2 else []
    return _case(shop, deed(shop.folder, *words, "disk"), layer, SAME)


def relink(shop: Workshop, format: str) -> Case:
    """The image names another file of the same content."""
    below = format if format in OWN else "raw"
    base = shop.image("base", below)
    layer = shop.image("disk", format, base)
    name = "b" * shop.random.choice((1, 6, 60, 200))
    shop.img("convert", "-f", below, "-O", below, "base", name)
    words = ("rebase", "-u", "-f", format, "-b", name, "-F", below, "disk")
    return _case(shop, deed(shop.folder, *words), layer, SAME)


AMENDMENTS = (
    *("compat=1.1", "compat=0.10", "lazy_refcounts=on", "lazy_refcounts=off"),
    *(f"refcount_bits={bits}" for bits in (1, 8, 16, 32, 64)),
)


def amend(shop: Workshop, format: str) -> Case:
    """Features of the image change, not its content."""
    layer = shop.image("disk", format, shop.image("base", "raw") if shop.random.random() < 0.3 else None)
    for _ in range(20):
        option = shop.random.choice(AMENDMENTS)
        # What is refused changes nothing: the next is tried.
        twin = shop.folder / "twin"
        twin.write_bytes((shop.folder / "disk").read_bytes())
        refused, _ = command(shop.folder, "amend", "-q", "-f", format, "-o", option, "twin")
        twin.unlink()
        if not refused:
            break
    else:
        raise Missing("no option can be amended")
    return _case(shop, deed(shop.folder, "amend", "-q", "-f", format, "-o", option, "disk"), layer, SAME)


def bitmap(shop: Workshop, format: str) -> Case:
    """Dirty bitmaps are added, removed, cleared, merged."""
    random = shop.random
    layer = shop.image("disk", format, compat="1.1")
    names = [f"b{number}" for number in range(random.randint(0, 3))]
    for name in names:
        shop.img("bitmap", "-f", format, "--add", "-g", random.choice((512, 4096, 65536)), "disk", name)
        shop.fill(layer)
    words = ["--add", "-g", "4096", "disk", "new"]
    if names and random.random() < 0.75:
        name = random.choice(names)
        words = [random.choice(("--remove", "--clear", "--disable")), "disk", name]
        if len(names) > 1 and random.random() < 0.4:
            words = ["--merge", random.choice([each for each in names if each != name]), "disk", name]
    return _case(shop, deed(shop.folder, "bitmap", "-f", format, *words), layer, SAME)


def leaks(shop: Workshop, format: str) -> Case:
    """Leaked clusters are freed."""
    layer = shop.image("disk", format)
    path = shop.folder / "disk"
    if format == "qcow2":
        _lose(shop, layer)
    else:
        with open(path, "r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.truncate(-(-end // 65536) * 65536 + 65536 * shop.random.randint(1, 9))
    return _case(shop, deed(shop.folder, "check", "-q", "-f", format, "-r", "leaks", "disk"), layer, SAME)


def mend(shop: Workshop, format: str) -> Case:
    """Whatever is wrong is mended."""
    layer = shop.image("disk", format)
    DAMAGE[format](shop, layer)
    before, _ = command(shop.folder, "check", "-q", "-f", format, "disk")
    twin = shop.folder / "twin"
    twin.write_bytes((shop.folder / "disk").read_bytes())
    command(shop.folder, "check", "-q", "-f", format, "-r", "all", "twin")
    after, _ = command(shop.folder, "check", "-q", "-f", format, "twin")
    twin.unlink()
    operate = partial(command, shop.folder, "check", "-q", "-f", format, "-r", "all", "disk")
    view = View("disk", format, EITHER, None, not before, after in (0, 3))
    return Case(shop.folder, operate, ("disk",), (view,))


SECRETS = ("--object", "secret,id=s,data=opensesame", "--object", "secret,id=t,data=barleysesame")
PREFIX = {"luks": "", "qcow2": "encrypt."}


def _sealed(shop: Workshop, format: str) -> Layer:
    """An encrypted image."""
    random, prefix = shop.random, PREFIX[format]
    options = f"{prefix}key-secret=s,{prefix}iter-time=10"
    cluster = random.choice((4096, 65536))
    if format == "qcow2":
        options += f",encrypt.format=luks,cluster_size={cluster}"
    size = 512 * random.randint(60, 300)
    shop.img("create", "-q", *SECRETS, "-f", format, "-o", options, "disk", size)
    layer = Layer("disk", format, size, cluster, node=("-d", "unmap", *SECRETS, "--image-opts", _opened(format)))
    shop.fill(layer)
    return layer


def _opened(format: str) -> str:
    return f"driver={format},{PREFIX[format]}key-secret=s,file.filename=disk"


def _sealed_case(shop: Workshop, operate: Callable[[], object], layer: Layer, content: str) -> Case:
    opened = (*SECRETS, "--image-opts", _opened(layer.format))
    view = View("disk", layer.format, content, {f"{PREFIX[layer.format]}key-secret": "s"}, opened=opened)
    return Case(shop.folder, operate, ("disk",), (view,), _keyed())


def _keyed() -> Settings:
    return LENIENT._replace(keyring=Keyring({"s": b"opensesame", "t": b"barleysesame"}))


def sealed_resize(shop: Workshop, format: str) -> Case:
    """An encrypted disk grows."""
    layer = _sealed(shop, format)
    size = layer.size + 512 * shop.random.randint(1, 900)
    words = ["resize", "-q", *SECRETS, "--image-opts"]
    words += [f"--preallocation={shop.random.choice(('off', 'falloc', 'full'))}"] if format == "qcow2" else []
    return _sealed_case(shop, deed(shop.folder, *words, _opened(format), str(size)), layer, EITHER)


def sealed_update(shop: Workshop, format: str) -> Case:
    """Other content is written over some of an encrypted image's."""
    layer = _sealed(shop, format)
    case = _sealed_case(shop, lambda: None, layer, SECTORS)
    given = (layer.size, False, shop.random.randrange(1 << 30), case.settings, case.views[0].options)
    return case._replace(operate=partial(_update, shop.folder, format, "disk", *given))


def sealed_amend(shop: Workshop, format: str) -> Case:
    """A key slot is filled, or emptied; the passphrase of another opens the image all the time."""
    layer, prefix = _sealed(shop, format), PREFIX[format]
    fill = f"{prefix}state=active,{prefix}new-secret=t,{prefix}iter-time=10"
    empty = f"{prefix}state=inactive,{prefix}old-secret=t"
    words = ("amend", *SECRETS, "--image-opts")
    change = fill
    if shop.random.random() < 0.5:
        shop.img(*words, "-o", fill, _opened(format))
        change = empty
    return _sealed_case(shop, deed(shop.folder, *words, "-o", change, _opened(format)), layer, SAME)


def _lose(shop: Workshop, layer: Layer) -> None:
    """Entries of an L2 table are gone, and their clusters lost."""
    with open(shop.folder / layer.name, "r+b") as file:
        header = file.read(104)
        cluster = 1 << int.from_bytes(header[20:24])
        size = 16 if header[4:8] == b"\0\0\0\3" and int.from_bytes(header[72:80]) & 16 else 8
        file.seek(int.from_bytes(header[40:48]))
        tables = [int.from_bytes(file.read(8)) & (1 << 56) - 512 for _ in range(int.from_bytes(header[36:40]))]
        used: list[int] = []
        for table in filter(None, tables):
            file.seek(table)
            data = file.read(cluster)
            used += [table + at for at in range(0, cluster, size) if any(data[at : at + 8])]
        for place in shop.random.sample(used, min(len(used), shop.random.randint(1, 4))):
            file.seek(place)
            file.write(bytes(size))


def _damage_qcow2(shop: Workshop, layer: Layer) -> None:
    """References are lost, refcounts wrong."""
    if shop.random.random() < 0.5:
        _lose(shop, layer)
    with open(shop.folder / layer.name, "r+b") as file:
        header = file.read(104)
        file.seek(int.from_bytes(header[48:56]))
        block = int.from_bytes(file.read(8))
        for _ in range(shop.random.randint(1, 6)):
            file.seek(block + shop.random.randrange(64))
            file.write(bytes((shop.random.choice((0, 1, 2, 255)),)))


def _damage_qed(shop: Workshop, layer: Layer) -> None:
    """The image says that it was not closed; perhaps an entry leads nowhere."""
    with open(shop.folder / layer.name, "r+b") as file:
        header = bytearray(file.read(64))
        header[16] |= 2
        file.seek(0)
        file.write(header)
        end = file.seek(0, os.SEEK_END)
        file.seek(int.from_bytes(header[40:48], "little"))
        table = int.from_bytes(file.read(8), "little")
        if table and shop.random.random() < 0.7:
            file.seek(table + 8 * shop.random.randrange(20))
            file.write(shop.random.choice((end + 65536 * 4, 1 << 40)).to_bytes(8, "little"))


def _damage_parallels(shop: Workshop, layer: Layer) -> None:
    """Clusters shared, outside the file, behind the last; the image was not closed."""
    random = shop.random
    with open(shop.folder / layer.name, "r+b") as file:
        header = file.read(64)
        count = int.from_bytes(header[32:36], "little")
        table = [int.from_bytes(file.read(4), "little") for _ in range(count)]
        taken = [entry for entry in table if entry]
        for _ in range(random.randint(1, 3)):
            file.seek(64 + 4 * random.randrange(count))
            file.write(random.choice((*taken, 0xFFFFFF)).to_bytes(4, "little"))
        if random.random() < 0.5:
            file.seek(44)
            file.write(0x746F6E59.to_bytes(4, "little"))
        if random.random() < 0.5:
            file.truncate(file.seek(0, os.SEEK_END) + 3 * 65536)


def _damage_vhdx(shop: Workshop, layer: Layer) -> None:
    """The writer died and left its log; perhaps a copy of the header or of the region table is broken as well."""
    shop.io(layer, "write -P 7 0 100k", "write -P 8 1M 64k", "sigraise 9")
    if shop.random.random() < 0.5:
        with open(shop.folder / layer.name, "r+b") as file:
            file.seek(shop.random.choice((196608, 262144)) + 20)
            file.write(b"broken")


def _damage_vpc(shop: Workshop, layer: Layer) -> None:
    """The footer or its copy is broken; of a fixed disk, which has no copy, it is too far away."""
    with open(shop.folder / layer.name, "r+b") as file:
        fixed = file.read(8) != b"conectix"
        end = file.seek(-512, os.SEEK_END)
        footer = file.read()
        if fixed:
            file.seek(end + 512 * shop.random.randint(1, 200))
            file.write(footer)
            file.seek(end)
            file.write(bytes(512))
            return
        file.seek((0, end)[shop.random.random() < 0.5] + shop.random.choice((70, 100)))
        file.write(b"broken")


def _damage_vmdk(shop: Workshop, layer: Layer) -> None:
    """A copy of the grain directory or of its only table is broken; perhaps the image was not closed."""
    random = shop.random
    with open(shop.folder / layer.name, "r+b") as file:
        which = random.choice((48, 56))
        file.seek(which)
        place = int.from_bytes(file.read(8), "little") * 512
        draw = random.random()
        if draw < 0.2:
            file.seek(which)
            file.write((1 << 40).to_bytes(8, "little"))
        elif draw < 0.4:
            file.seek(place)
            file.write(random.choice((0, 1, 1 << 30)).to_bytes(4, "little"))
        else:
            for _ in range(random.randint(1, 4)):
                file.seek(place + 512 + 4 * random.randrange(16))
                file.write(random.choice((0, 3, 1 << 30)).to_bytes(4, "little"))
        if random.random() < 0.3:
            file.seek(72)
            file.write(b"\1")


def _damage_vdi(shop: Workshop, layer: Layer) -> None:
    """The count of blocks is wrong."""
    with open(shop.folder / layer.name, "r+b") as file:
        file.seek(0x184)
        file.write(shop.random.randrange(50).to_bytes(4, "little"))


DAMAGE: dict[str, Callable[[Workshop, Layer], None]] = {
    "qcow2": _damage_qcow2,
    "qed": _damage_qed,
    "parallels": _damage_parallels,
    "vhdx": _damage_vhdx,
    "vpc": _damage_vpc,
    "vdi": _damage_vdi,
    "vmdk": _damage_vmdk,
}


def _history(shop: Workshop, layer: Layer, chance: float) -> list[str]:
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


def _snapshotted(shop: Workshop, format: str) -> tuple[Layer, list[str]]:
    """An image with snapshots, and their names. Where refcounts are of one bit there can be none."""
    while True:
        layer = shop.image("disk", format)
        names = _history(shop, layer, 1)
        if names:
            return layer, names


def _backed(shop: Workshop, format: str) -> bool:
    return format in ("qcow2", "qed", "qcow") and shop.random.random() < 0.4


def _case(shop: Workshop, operate: Callable[[], object], layer: Layer, content: str) -> Case:
    return Case(shop.folder, operate, (layer.name,), (View(layer.name, layer.format, content),))


class Operation(NamedTuple):
    """Something that can be done to images of some formats."""

    make: Callable[[Workshop, str], Case]
    formats: tuple[str, ...]
    capability: str
    verb: str
    also: str = ""
    """A further capability that it needs."""


ALL = tuple(OPTIONS)
LAYERED = ("qcow2", "qed", "qcow", "vmdk", "vhdx", "vpc")
OWN = ("vmdk", "vhdx", "vpc")
"""Formats whose backing files are of the same format."""
OPERATIONS = {
    "resize": Operation(resize, ALL, Capability.RESIZE, "resize"),
    "snapshot create": Operation(take, ("qcow2",), Capability.SNAPSHOT, "snapshot"),
    "snapshot delete": Operation(drop, ("qcow2",), Capability.SNAPSHOT, "snapshot"),
    "snapshot apply": Operation(revert, ("qcow2",), Capability.SNAPSHOT, "snapshot"),
    "update": Operation(update, ALL[1:], Capability.UPDATE, "convert"),
    "convert": Operation(convert, ALL[1:], Capability.UPDATE, "convert"),
    "commit": Operation(commit, LAYERED, Capability.UPDATE, "commit"),
    "rebase": Operation(rebase, LAYERED, Capability.REBASE, "rebase", Capability.UPDATE),
    "rebase unsafe": Operation(relink, LAYERED, Capability.REBASE, "rebase"),
    "amend": Operation(amend, ("qcow2",), Capability.AMEND, "amend"),
    "bitmap": Operation(bitmap, ("qcow2",), Capability.BITMAP, "bitmap"),
    "encrypted resize": Operation(sealed_resize, tuple(PREFIX), Capability.RESIZE, "resize"),
    "encrypted update": Operation(sealed_update, tuple(PREFIX), Capability.UPDATE, "convert"),
    "encrypted amend": Operation(sealed_amend, tuple(PREFIX), Capability.AMEND, "amend"),
    "repair leaks": Operation(leaks, ("qcow2", "parallels", "vmdk"), Capability.REPAIR, "check"),
    "repair all": Operation(mend, tuple(DAMAGE), Capability.REPAIR, "check"),
}


def available() -> list[tuple[str, str]]:
    """Every format and operation that can be tried here."""
    found = []
    for name, operation in OPERATIONS.items():
        for format in operation.formats:
            if format != "raw" and importlib.util.find_spec(f"instar_{format}") is None:
                continue
            held = registry.spec(format).capabilities
            needed = {operation.capability, operation.also} - {""}
            if needed <= set(held) and operation.verb in VERBS:
                found.append((format, name))
    return found
