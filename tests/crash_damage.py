"""What goes wrong with images, at random places: leaks, and worse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from crash_cuts import LENIENT, command

from instar_core.operations.check import check
from instar_core.testing.crash import History
from instar_core.testing.recorder import Recorder, store
from instar_core.types import Severity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crash_images import Workshop
    from histories import Layer


def lose(shop: Workshop, layer: Layer) -> None:
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
        lose(shop, layer)
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


def _damage_luks(shop: Workshop, layer: Layer) -> None:
    """A copy of a LUKS2 header, or of its text, is broken."""
    random = shop.random
    with open(shop.folder / layer.name, "r+b") as file:
        size = int.from_bytes(file.read(16)[8:16])
        file.seek(random.choice((0, size)) + random.choice((random.randrange(8, 500), 4096 + random.randrange(300))))
        file.write(b"broken")


DAMAGE: dict[str, Callable[[Workshop, Layer], None]] = {
    "qcow2": _damage_qcow2,
    "qed": _damage_qed,
    "parallels": _damage_parallels,
    "vhdx": _damage_vhdx,
    "vpc": _damage_vpc,
    "vdi": _damage_vdi,
    "vmdk": _damage_vmdk,
    "luks": _damage_luks,
}
"""What breaks an image of the format."""


def _leak_qcow2(shop: Workshop, layer: Layer) -> None:
    lose(shop, layer)


def _lengthen(shop: Workshop, layer: Layer) -> None:
    """The file goes on behind the last cluster."""
    with open(shop.folder / layer.name, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.truncate(-(-end // layer.cluster) * layer.cluster + layer.cluster * shop.random.randint(1, 9))


def _leak_vpc(shop: Workshop, layer: Layer) -> None:
    """Before the footer at the end there is what nothing refers to."""
    with open(shop.folder / layer.name, "r+b") as file:
        end = file.seek(-512, os.SEEK_END)
        footer = file.read()
        file.seek(end)
        file.write(shop.random.randbytes(512))
        file.seek(end + shop.random.randint(1, 3) * ((2 << 20) + 512))
        file.write(footer)


def _leak_vhdx(shop: Workshop, layer: Layer) -> None:
    """A copy of the header, or the second region table, is broken."""
    with open(shop.folder / layer.name, "r+b") as file:
        file.seek(shop.random.choice((65536, 131072, 262144)) + shop.random.randrange(8, 60))
        file.write(b"broken")


def _leak_vdi(shop: Workshop, layer: Layer) -> None:
    """A change of the size was cut short when the block map lay behind the blocks."""
    path = shop.folder / layer.name
    with Recorder([str(path)]) as recorder:
        command(shop.folder, "resize", "-q", "-f", "vdi", layer.name, f"{shop.random.randint(129, 132)}M")
    history = History(recorder.base, recorder.steps)
    for count in range(len(recorder.steps), -1, -1):
        store(history.state(count, {}).files[0], str(path))
        if leaking(path, "vdi"):
            return


def leaking(path: Path, format: str) -> bool:
    """Whether a check finds leaks in the image."""
    return any(each.severity == Severity.LEAK for each in check(str(path), format=format, settings=LENIENT).findings)


LEAKS: dict[str, Callable[[Workshop, Layer], None]] = {
    "qcow2": _leak_qcow2,
    "qed": _lengthen,
    "parallels": _lengthen,
    "vmdk": _lengthen,
    "vpc": _leak_vpc,
    "vhdx": _leak_vhdx,
    "vdi": _leak_vdi,
}
"""What makes an image of the format have what `check -r leaks` mends, and nothing worse."""
