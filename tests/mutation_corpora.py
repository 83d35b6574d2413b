"""Sound images of every further format, of the builders of the plugins' own tests and of foreign programs.

A function of each format gives (name, bytes or the path of a file); what is not at hand is left out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    Made = Iterator[tuple[str, bytes | Path]]

PLUGINS = Path(__file__).parents[1] / "plugins"
QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
CRYPTSETUP = shutil.which("cryptsetup") or shutil.which("/sbin/cryptsetup")
SECRET = ("--object", "secret,id=s,data=abc")
WRITES = ("write -P 1 0 100k", "write -P 2 1M 3k", "write -z 1536k 64k", "write -P 3 1900k 60k", "write -P 4 500k 12k")


def builder(format: str) -> ModuleType:
    """The builder of a plugin's tests. Skips where they are not here."""
    name = "vhd_builder" if format == "vpc" else f"{format}_builder"
    path = PLUGINS / format / "tests" / f"{name}.py"
    if not path.exists():
        pytest.skip(f"the tests of instar-{format} are not here")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def run(folder: Path, *command: str, must: bool = True) -> None:
    """The command was run in the folder."""
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert not must or done.returncode == 0, (command, done.stderr)


def by_qemu(folder: Path, format: str, options: str, *writes: str, size: str = "2M") -> Made:
    """An image that qemu-img made and qemu-io wrote to."""
    if not QEMU_IMG or not QEMU_IO:
        return
    path = folder / f"by-qemu-{options.replace('=', '-').replace(',', '-') or 'default'}.{format}"
    extra = ["-o", options] if options else []
    run(folder, QEMU_IMG, "create", "-q", "-f", format, *extra, path.name, size)
    words = [word for write in writes or WRITES for word in ("-c", write)]
    run(folder, QEMU_IO, "-f", format, *words, path.name, must=False)
    yield f"by qemu, {options or 'default'}", path


def vpc(folder: Path) -> Made:
    """Children, small blocks, fixed disks, copies of footers that are missing."""
    make = builder("vpc")
    name = "base.vhd".encode("utf-16-le")
    names = ((b"W2ru", name), (b"MacX", b"file://./base.vhd"), (b"W2ku", name))
    some = {1: (b"ab" * 5000, (0, 1, 2, 3, 7, 8, 9, 200)), 0: (b"x" * 4096, (4095,))}
    parent = {"parent": bytes(range(16, 32)), "name": "base.vhd"}
    small = {number: (bytes([number]) * 4096, None) for number in (5, 4, 0, 9, 10, 11)}
    yield "child", make.dynamic(5 << 20, some, kind=4, names=names, header_fields=parent)
    yield "small blocks", make.dynamic(50_000, small, block=4096)
    yield "fixed", make.fixed(b"content" * 10_240)
    yield "fixed and old", make.fixed(b"content!" * 10_240, old=True)
    yield "no footer at the end", make.dynamic(3 << 20, {0: (b"x", None)}, tail=False)
    yield from by_qemu(folder, "vpc", "subformat=dynamic,force_size=on")


def vhdx(folder: Path) -> Made:
    """Those that Hyper-V makes, with logs to replay, and qemu-img's."""
    yield from builder("vhdx").samples()
    yield from by_qemu(folder, "vhdx", "block_size=1M")


def vdi(folder: Path) -> Made:
    """Blocks in disorder, small ones, extra data."""
    make = builder("vdi")
    yield "built", make.build([None, 0, 2, make.DISCARDED, 1, None], block=65536)
    yield "small blocks", make.build([2, None, 0, 1], block=4096, bmap=1024)
    yield "extra data", make.build([1, None, 0], block=65536, extra=512)
    yield from by_qemu(folder, "vdi", "")
    yield from by_qemu(folder, "vdi", "static=on")


def qed(folder: Path) -> Made:
    """Clusters in disorder, leaks, overlays."""
    make = builder("qed")
    size = (4 << 20) + 1024
    mixed = {0: make.DATA, 1: make.DATA, 3: make.ZERO, 4: make.ZERO, 600: make.DATA, 511: b"last"}
    yield "built", make.build(size, mixed)
    yield "in disorder", make.build(size, mixed, order=[600, 1, 3, 0, 511, 4], gap=[0], features=make.NEED_CHECK)
    yield "overlay", make.build(size, mixed, table=16, header=3, backing=b"../base", features=6)
    yield from by_qemu(folder, "qed", "cluster_size=4k,table_size=2")


def qcow(folder: Path) -> Made:
    """Plain, compressed, over another, encrypted."""
    yield from by_qemu(folder, "qcow", "", "write -P 1 64k 100k", "write -c -P 2 1M 4k", "write -P 3 0 4k")
    if not QEMU_IMG or not QEMU_IO:
        return
    run(folder, QEMU_IMG, "create", "-q", "-f", "raw", "base.raw", "3M")
    run(folder, QEMU_IO, "-f", "raw", "-c", "write -P 1 0 100k", "-c", "write -P 3 2M 64k", "base.raw")
    # qemu-img 11.1 may end with 1 here, without a word; the image is whole.
    squeeze = (QEMU_IMG, "convert", "-c", "-f", "raw", "-O", "qcow", "base.raw", "compressed.qcow")
    run(folder, *squeeze, must=False)
    yield "compressed", folder / "compressed.qcow"
    run(folder, QEMU_IMG, "create", "-q", "-f", "qcow", "-b", "base.raw", "-F", "raw", "over.qcow")
    run(folder, QEMU_IO, "-f", "qcow", "-c", "write -P 9 64k 70k", "over.qcow")
    yield "over another", folder / "over.qcow"
    options = "encryption=on,encrypt.key-secret=s,size=2M"
    run(folder, QEMU_IMG, "create", "-q", *SECRET, "-f", "qcow", "-o", options, "aes.qcow")
    opened = ("--image-opts", "driver=qcow,encrypt.key-secret=s,file.filename=aes.qcow")
    run(folder, QEMU_IO, *SECRET, "-c", "write -P 1 64k 100k", *opened)
    yield "encrypted", folder / "aes.qcow"


def parallels(folder: Path) -> Made:
    """Both magics, bitmaps."""
    make = builder("parallels")
    sound = make.build([None, 0, 2, None, 1, None], tracks=8)
    yield "built", sound
    yield "old magic", make.build([2, None, 0, 1], magic=make.OLD, tracks=63)
    yield "old magic, no data_off", make.build([1, None, 0], magic=make.OLD, data=0, tracks=8)
    tables = (len(sound) // 512, 0, 1)
    bitmaps = [make.bitmap(48, 8, [entry], name=bytes([65 + n]) * 16) for n, entry in enumerate(tables)]
    yield "bitmaps", make.extended(sound, *bitmaps, make.END, before=1)
    yield from by_qemu(folder, "parallels", "cluster_size=65536")


def bochs(folder: Path) -> Made:
    """Both versions, large extents."""
    make = builder("bochs")
    size = (1 << 20) + 512
    some = [0, 1, 2, 8, 15, 16, 17, *range(64, 96), 1000, 2048]
    yield "version 2", make.build(size, some)
    yield "version 1", make.build(size, some, version=make.V1, order=[256, 0, 9, 2, 8, 1, 125, 10, 11])
    yield "large extents", make.build(size, some, extent=1 << 19, bitmap=512)


def cloop(folder: Path) -> Made:
    """Small and large blocks."""
    make = builder("cloop")
    yield "small blocks", make.build([bytes([number]) * 4096 for number in range(40)])
    yield "one block", make.build([bytes(512)], size=512)
    yield "large blocks", make.build([bytes(1 << 20), b"ab" * (1 << 19)], size=1 << 20, tail=bytes(100))


def iso(folder: Path) -> Made:
    """By hand, and by genisoimage."""
    make = builder("iso")
    yield "by hand", make.image()
    yield "more behind it", make.image(boot=False, trailing=700)
    program = shutil.which("genisoimage")
    if program:
        (folder / "tree" / "deep").mkdir(parents=True)
        (folder / "tree" / "deep" / "file").write_bytes(b"file" * 1000)
        run(folder, program, "-quiet", "-V", "A_VOLUME", "-J", "-R", "-o", "tree.iso", "tree")
        yield "by genisoimage", folder / "tree.iso"


def dmg(folder: Path) -> Made:
    """A property list, a resource fork, a data fork elsewhere."""
    make = builder("dmg")

    def filled(**arguments: object) -> object:
        image = make.Image(**arguments)
        image.partition("one", ("zlib", b"ab" * 5120), ("zero", bytes(5120)), ("raw", b"raw!" * 256))
        return image.partition("two", ("adc", b"abcabcabc" * 512 + bytes(512)), ("ignore", bytes(1024)))

    yield "property list", filled().build()
    yield "resource fork", filled().build(rsrc=True)
    yield "data fork elsewhere", filled(before=bytes(5000), data_offset=100).build()


def luks(folder: Path) -> Made:
    """LUKS1 of qemu-img, LUKS1 and 2 of cryptsetup."""
    if QEMU_IMG:
        command = (QEMU_IMG, "create", "-q", "-f", "luks", *SECRET, "-o", "key-secret=s,iter-time=10")
        run(folder, *command, "qemu.luks", "1M")
        yield "by qemu", folder / "qemu.luks"
    if not CRYPTSETUP:
        return
    small = ("--cipher", "aes-cbc-essiv:sha256", "--key-size", "128", "--pbkdf-force-iterations", "1000")
    areas = ("--luks2-metadata-size", "16k", "--luks2-keyslots-size", "256k", "--label", "a label")
    for name, more in {"luks1": (), "luks2": ("--pbkdf", "pbkdf2", "--sector-size", "4096", *areas)}.items():
        path = folder / f"{name}.luks"
        with open(path, "wb") as file:
            file.truncate(3 << 20)
        command = [CRYPTSETUP, "-q", "luksFormat", "--type", name, *small, *more, str(path), "-"]
        subprocess.run(command, input=b"abc", check=True, capture_output=True)
        yield f"{name} by cryptsetup", path


CORPORA: dict[str, Callable[[Path], Made]] = {
    one.__name__: one for one in (vpc, vhdx, vdi, qed, qcow, parallels, bochs, cloop, iso, dmg, luks)
}
"""By the names of the formats."""
