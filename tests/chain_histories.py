"""Random backing chains, made by qemu-img and written to by qemu-io: what rebase and commit are judged on."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import NamedTuple

from instar_core import registry
from instar_core.testing.beside import beside
from instar_core.types import Capability

images = beside(__file__)("qemu_images")
QEMU_IMG, QEMU_IO, TIME, run, needed = images.QEMU_IMG, images.QEMU_IO, images.TIME, images.run, images.needed

SIZES = (1 << 20, 3 << 20, (2 << 20) + 512, (1 << 20) - 1536, 4 << 20)


class Made(NamedTuple):
    """An image of a chain: its file and format."""

    path: Path
    format: str


def attempt(*words: str | Path) -> None:
    """A program ran; whether it could do what it was asked for does not matter."""
    subprocess.run(list(map(str, words)), capture_output=True, check=False, timeout=TIME)


def content(image: Made, raw: Path) -> bytes:
    """The disk of an image as qemu-img reads it."""
    run(QEMU_IMG, "convert", "-U", "-f", image.format, "-O", "raw", image.path, raw)
    return raw.read_bytes()


def sound(image: Made) -> None:
    """qemu-img finds nothing wrong with the image, and nothing leaked, if it checks its format at all."""
    done = subprocess.run(
        [QEMU_IMG, "check", "-U", "-f", image.format, str(image.path)],
        capture_output=True, text=True, check=False, timeout=TIME,
    )  # fmt: skip
    assert done.returncode in (0, 63), f"{image}: {done.stdout}{done.stderr}"


def options(format: str, chance: random.Random) -> list[str]:
    """Properties of a new image, as options of qemu-img create."""
    if format == "qed":
        return ["-o", f"cluster_size={chance.choice(('4k', '64k', '128k'))}"]
    if format != "qcow2":
        return []
    kind = chance.randrange(6)
    if kind == 0:
        return ["-o", f"compat=0.10,cluster_size={chance.choice(('512', '4k', '64k'))}"]
    if kind == 1:
        return ["-o", f"extended_l2=on,cluster_size={chance.choice(('16k', '64k'))}"]
    order = chance.choice((1, 2, 4, 8, 16, 64))
    return ["-o", f"cluster_size={chance.choice(('512', '4k', '64k', '256k'))},refcount_bits={order}"]


def write(image: Made, chance: random.Random, times: int) -> None:
    """Content at random places: data, zeros, and data that is zeros."""
    size = virtual(image)
    commands: list[str] = []
    for _ in range(times):
        at = chance.randrange(size // 512) * 512
        length = min(size - at, 512 * chance.choice((1, 7, 8, 60, 128, 300, 1024)))
        what = chance.choice(("write -P 0", "write -z", "write -z -u", "discard")) if chance.random() < 0.3 else ""
        commands += ["-c", f"{what or f'write -P {chance.randrange(1, 255)}'} {at} {length}"]
    run(QEMU_IO, "-f", image.format, *commands, image.path)


def virtual(image: Made) -> int:
    """The size of the disk in an image."""
    for line in run(QEMU_IMG, "info", "-U", "-f", image.format, image.path).splitlines():
        if line.startswith("virtual size"):
            return int(line.rpartition("(")[2].split()[0])
    raise AssertionError(f"{image} has no size")


def new(path: Path, format: str, chance: random.Random, below: Made | None = None) -> Made:
    """An image with content, over another one if wanted."""
    image = Made(path, format)
    over = ["-b", below.path.name, "-F", below.format] if below else []
    words = [*options(format, chance), *over, path, str(chance.choice(SIZES))]
    run(QEMU_IMG, "create", "-q", "-f", format, *words)
    write(image, chance, chance.randrange(1, 9))
    if format == "qcow2" and chance.random() < 0.3:
        attempt(QEMU_IMG, "snapshot", "-c", "kept", path)  # counts of one bit leave no room for it
        write(image, chance, 3)
    if format == "qcow2" and chance.random() < 0.2:
        compress(image, chance)
    if format == "qcow2":
        attempt(QEMU_IMG, "check", "-q", "-r", "leaks", path)  # qemu's own: what it could not compress, and others
    return image


def compress(image: Made, chance: random.Random) -> None:
    """Some clusters that held nothing are compressed from now on."""
    size = virtual(image)
    for _ in range(4):
        at = chance.randrange(max(1, size >> 18)) << 18
        if at + (1 << 18) <= size:
            pattern = chance.randrange(1, 255)
            attempt(QEMU_IO, "-f", image.format, "-c", f"write -c -P {pattern} {at} {1 << 18}", image.path)


def chain(folder: Path, chance: random.Random, name: str, formats: list[str]) -> list[Made]:
    """A chain of images of these formats, the lowest first."""
    made: list[Made] = []
    for number, format in enumerate(formats):
        made.append(new(folder / f"{name}{number}", format, chance, made[-1] if made else None))
    return made


def formats(chance: random.Random, count: int) -> list[str]:
    """Formats of a chain, the lowest first: only that may be one which has no backing files."""
    upper = installed("qcow2", "qcow2", "qed")
    return [chance.choice(installed("raw", "qcow2", "vmdk", "vdi")), *(chance.choice(upper) for _ in range(count - 1))]


def installed(*formats: str) -> list[str]:
    """Those of the formats whose plugins are there."""
    return [format for format in formats if format in registry.entries()]


def writable(*formats: str) -> list[str]:
    """Those of the formats into whose images content can be written."""
    return [one for one in installed(*formats) if Capability.UPDATE in registry.spec(one).capabilities]
