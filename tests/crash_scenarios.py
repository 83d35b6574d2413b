"""What is done to images while the power is cut, and what must be: every change of every format that claims it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import crash_sealed as sealed
import crash_writing as writing
from crash_cuts import ANY, EITHER, LENIENT, SAME, Case, Refused, View, command, deed
from crash_damage import DAMAGE, LEAKS, leaking
from crash_images import DEFAULT, LAYERED, MIB, OPTIONS, OWN, Tools, Workshop, backed, history, snapshotted
from histories import Layer

from instar_core import registry
from instar_core.cli.main import VERBS
from instar_core.compat import vhd
from instar_core.types import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("CHANGING", "OPERATIONS", "Tools", "Workshop", "available", "claimed")


def resize(shop: Workshop, format: str) -> Case:
    """The disk grows or shrinks."""
    layer = shop.image("disk", format, shop.image("base", "raw") if backed(shop, format) else None)
    if format == "qcow2" and layer.v3:
        history(shop, layer, 0.3)
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
    elif format == "vdi" and random.random() < 0.3:
        size = MIB * random.randint(129, 132)  # the block map is longer than its first sector
    case = shop.case(deed(shop.folder, *words, "disk", str(size)), layer, EITHER)
    if format == "vpc" and not (shop.folder / "disk").read_bytes().startswith(b"conectix"):
        return case._replace(ordered=True)  # a fixed disk's only footer is the end of its file
    return case


def resize_over(shop: Workshop, format: str) -> Case:
    """A disk that stands on another one grows or shrinks."""
    random = shop.random
    base = shop.image("base", format if format in OWN else "raw")
    layer = shop.image("disk", format, base, size=max(base.size, 1024) + 512 * random.choice((0, 0, 1, 99)))
    size = max(512, layer.size + 512 * random.choice((-900, -200, -1, 1, 3, 200, 900, 5000)))
    words = ("resize", "-q", "--shrink", "-f", format, "disk", str(size))
    return shop.case(deed(shop.folder, *words), layer, EITHER)


def coalesce(shop: Workshop) -> Case:
    """What two VHD files over a third hold goes into that one; the topmost reads the same all the time."""
    base = shop.image("base", "vpc", subformat="dynamic")
    shop.image("middle", "vpc", base, size=base.size + 512 * shop.random.choice((0, 0, 1, 4099)))
    shop.image("disk", "vpc", Layer("middle", "vpc", 0))
    chain = [str(shop.folder / name) for name in ("disk", "middle", "base")]

    def operate() -> None:
        with contextlib.chdir(shop.folder):
            vhd.coalesce_chain(chain, settings=LENIENT)

    views = (View("disk", "vpc", SAME), View("base", "vpc", ANY))
    return Case(shop.folder, operate, shop.files["base"], views)


def take(shop: Workshop, format: str) -> Case:
    """A snapshot is made."""
    layer = shop.image("disk", format)
    history(shop, layer, 0.6)
    return shop.case(deed(shop.folder, "snapshot", "-c", "new", "disk"), layer, SAME)


def drop(shop: Workshop, format: str) -> Case:
    """A snapshot is deleted."""
    layer, names = snapshotted(shop, format)
    words = ("snapshot", "-d", shop.random.choice(names), "disk")
    return shop.case(deed(shop.folder, *words), layer, SAME)


def revert(shop: Workshop, format: str) -> Case:
    """A snapshot is applied."""
    layer, names = snapshotted(shop, format)
    words = ("snapshot", "-a", shop.random.choice(names), "disk")
    return shop.case(deed(shop.folder, *words), layer, EITHER)


def rebase(shop: Workshop, format: str) -> Case:
    """The image gets another backing file, its first, or none, and reads the same."""
    random = shop.random
    below = format if format in OWN else "raw"
    base = shop.image("base", below) if random.random() < 0.7 else None
    layer = shop.image("disk", format, base)
    if format == "qcow2":
        history(shop, layer, 0.3)
    other = shop.image("another-base-of-it", below) if random.random() < 0.7 or base is None else None
    words = ["rebase", "-f", format, "-b", other.name if other else ""]
    words += ["-F", other.format] if other else []
    words += ["-c"] if format == "qcow2" and random.random() < 0.2 else []
    return shop.case(deed(shop.folder, *words, "disk"), layer, SAME)


def relink(shop: Workshop, format: str) -> Case:
    """The image names another file of the same content."""
    below = format if format in OWN else "raw"
    base = shop.image("base", below)
    layer = shop.image("disk", format, base)
    name = "b" * shop.random.choice((1, 6, 60, 200))
    shop.img("convert", "-f", below, "-O", below, "base", name)
    words = ("rebase", "-u", "-f", format, "-b", name, "-F", below, "disk")
    return shop.case(deed(shop.folder, *words), layer, SAME)


def to_version_2(shop: Workshop, format: str) -> Case:
    """A qcow2 image gets the older version, without zero clusters, or the newer one."""
    random = shop.random
    base = shop.image("base", "raw") if random.random() < 0.3 else None
    if random.random() < 0.3:
        layer, level = shop.image("disk", format, base, compat="0.10"), "1.1"
    else:
        older = dict.fromkeys(("refcount_bits", "extended_l2", "data_file"), DEFAULT)
        layer, level = shop.image("disk", format, base, compat="1.1", **older), "0.10"
    history(shop, layer, 0.3)
    return _amended(shop, layer, f"compat={level}")


def widen(shop: Workshop, format: str) -> Case:
    """Refcounts get another width."""
    layer = shop.image("disk", format, shop.image("base", "raw") if shop.random.random() < 0.3 else None, compat="1.1")
    names = history(shop, layer, 0.3)
    return _amended(
        shop, layer, f"refcount_bits={shop.random.choice((8, 16, 32, 64) if names else (1, 2, 4, 8, 32, 64))}"
    )


def be_lazy(shop: Workshop, format: str) -> Case:
    """Refcounts need not be kept up to date any more, or must be."""
    lazy = shop.random.random() < 0.5
    layer = shop.image("disk", format, compat="1.1", lazy_refcounts="on" if lazy else "off")
    history(shop, layer, 0.3)
    return _amended(shop, layer, f"lazy_refcounts={'off' if lazy else 'on'}")


def amend_size(shop: Workshop, format: str) -> Case:
    """The disk grows by amend."""
    layer = shop.image("disk", format, shop.image("base", "raw") if shop.random.random() < 0.3 else None)
    history(shop, layer, 0.3 if layer.v3 else 0)
    more = 512 * shop.random.randint(1, shop.random.choice((20, 4000)))
    return _amended(shop, layer, f"size={layer.size + more}", EITHER)


def move_data(shop: Workshop, format: str) -> Case:
    """The header names another data file, of the same content."""
    layer = shop.image("disk", format, compat="1.1", data_file="")
    name = "d" * shop.random.choice((1, 6, 60, 200))
    shutil.copy(shop.folder / "disk.data", shop.folder / name)
    return _amended(shop, layer, f"data_file={name}")


def _amended(shop: Workshop, layer: Layer, option: str, content: str = SAME) -> Case:
    return shop.case(deed(shop.folder, "amend", "-q", "-f", layer.format, "-o", option, "disk"), layer, content)


def bitmapped(action: str, shop: Workshop, format: str) -> Case:
    """Something is done to one of several dirty bitmaps."""
    random = shop.random
    layer = shop.image("disk", format, compat="1.1")
    least = 2 if action == "merge" else action != "add"
    names = [f"b{number}" for number in range(random.randint(least, 3))]
    for name in names:
        off = ("--disable",) if action == "enable" or random.random() < 0.2 else ()
        shop.img("bitmap", "-f", format, "--add", "-g", random.choice((512, 4096, 65536)), *off, "disk", name)
        shop.fill(layer)
    words = {
        "add": ("--add", "-g", str(random.choice((512, 4096, 65536))), "disk", "new"),
        "merge": ("--merge", "b0", "disk", "b1"),
    }.get(action) or (f"--{action}", "disk", random.choice(names))
    return shop.case(deed(shop.folder, "bitmap", "-f", format, *words), layer, SAME)


def leaks(shop: Workshop, format: str) -> Case:
    """Leaked clusters are freed."""
    layer = shop.image("disk", format, **_single(format))
    LEAKS[format](shop, layer)
    if format not in NOTED and not leaking(shop.folder / "disk", format):
        raise Refused("nothing leaks")
    return shop.case(deed(shop.folder, "check", "-q", "-f", format, "-r", "leaks", "disk"), layer, SAME)


def mend(shop: Workshop, format: str) -> Case:
    """Whatever is wrong is mended."""
    layer = shop.image("disk", format, **_single(format))
    DAMAGE[format](shop, layer)
    before, _ = command(shop.folder, "check", "-q", "-f", format, "disk")
    twin = shop.folder.with_name("twin")
    shutil.copytree(shop.folder, twin)
    command(twin, "check", "-q", "-f", format, "-r", "all", "disk")
    after, _ = command(twin, "check", "-q", "-f", format, "disk")
    shutil.rmtree(twin)
    operate = partial(command, shop.folder, "check", "-q", "-f", format, "-r", "all", "disk")
    view = View("disk", format, EITHER, None, not before, after in (0, 3))
    return Case(shop.folder, operate, shop.files["disk"], (view,))


def _single(format: str) -> dict[str, str]:
    """Options of an image that is one file with tables of its own, so that these can be damaged."""
    return {"vmdk": {"subformat": "monolithicSparse"}, "vdi": {"static": "off"}}.get(format, {})


class Operation(NamedTuple):
    """Something that can be done to images of some formats: of those that have all of the capabilities."""

    make: Callable[[Workshop, str], Case]
    formats: tuple[str, ...]
    verb: str
    capabilities: tuple[str, ...]
    plain: bool = True
    """Whether it is done to images that are not encrypted."""
    options: tuple[str, ...] = ()
    """What is amended."""


ALL = tuple(OPTIONS)
CRYPTS = tuple(sealed.PREFIX)
QCOW2 = ("qcow2",)
C = Capability
SLOTS = ("state", "keyslot", "old-secret", "new-secret", "iter-time")
OPERATIONS = {
    "resize": Operation(resize, ALL, "resize", (C.RESIZE,)),
    "resize over": Operation(resize_over, LAYERED, "resize", (C.RESIZE, C.BACKING)),
    "snapshot create": Operation(take, QCOW2, "snapshot", (C.SNAPSHOT,)),
    "snapshot delete": Operation(drop, QCOW2, "snapshot", (C.SNAPSHOT,)),
    "snapshot apply": Operation(revert, QCOW2, "snapshot", (C.SNAPSHOT,)),
    "update": Operation(writing.overwrite, ALL, "convert", (C.UPDATE,)),
    "update compressed": Operation(writing.compressed, ("qcow2", "qcow"), "convert", (C.UPDATE, C.COMPRESS)),
    "convert": Operation(writing.convert, ALL, "convert", (C.UPDATE,)),
    "dd": Operation(writing.copied, ALL, "dd", (C.UPDATE,)),
    "commit": Operation(writing.commit, LAYERED, "commit", (C.BACKING, C.UPDATE)),
    "commit into": Operation(writing.committed_into, ALL, "commit", (C.UPDATE,)),
    "rebase": Operation(rebase, LAYERED, "rebase", (C.REBASE, C.UPDATE)),
    "rebase unsafe": Operation(relink, LAYERED, "rebase", (C.REBASE,)),
    "amend compat": Operation(to_version_2, QCOW2, "amend", (C.AMEND,), options=("compat",)),
    "amend refcount_bits": Operation(widen, QCOW2, "amend", (C.AMEND,), options=("refcount_bits",)),
    "amend lazy_refcounts": Operation(be_lazy, QCOW2, "amend", (C.AMEND,), options=("lazy_refcounts",)),
    "amend size": Operation(amend_size, QCOW2, "amend", (C.AMEND,), options=("size",)),
    "amend data_file": Operation(move_data, QCOW2, "amend", (C.AMEND,), options=("data_file",)),
    **{
        f"bitmap {action}": Operation(partial(bitmapped, action), QCOW2, "bitmap", (C.BITMAP,))
        for action in ("add", "remove", "clear", "enable", "disable", "merge")
    },
    "repair leaks": Operation(leaks, tuple(LEAKS), "check", (C.REPAIR,)),
    "repair all": Operation(mend, tuple(each for each in DAMAGE if each != "luks"), "check", (C.REPAIR,)),
    "encrypted resize": Operation(sealed.resize, CRYPTS, "resize", (C.ENCRYPT, C.RESIZE), False),
    "encrypted update": Operation(sealed.overwrite, CRYPTS, "convert", (C.ENCRYPT, C.UPDATE), False),
    "encrypted convert": Operation(sealed.convert, CRYPTS, "convert", (C.ENCRYPT, C.UPDATE), False),
    "encrypted commit": Operation(sealed.commit, CRYPTS, "commit", (C.ENCRYPT, C.UPDATE), False),
    "encrypted rebase": Operation(sealed.rebase, ("qcow2", "qcow"), "rebase", (C.ENCRYPT, C.REBASE), False),
    "encrypted amend": Operation(
        sealed.amend, ("luks", "qcow2"), "amend", (C.ENCRYPT, C.AMEND), False,
        (*SLOTS, *(f"encrypt.{each}" for each in SLOTS)),
    ),
    "encrypted repair all": Operation(sealed.mend, ("luks",), "check", (C.ENCRYPT, C.REPAIR), False),
}  # fmt: skip
CHANGING = ("amend", "bitmap", "check", "commit", "convert", "dd", "rebase", "resize", "snapshot")
"""Verbs that change an image that is there. bench does too, and throws the content away: it writes as update does."""
EXEMPT = {
    ("vmdk", "update compressed"): "a compressed VMDK is written once, from front to back",
    ("qcow2", "encrypted repair all"): "a repair looks at no content: it is the same as of other images",
}
"""What the capabilities of a format seem to claim, and why there is no such thing."""
ALWAYS_ENCRYPTED = ("luks",)
NOTED = ("vhdx", "vmdk")
"""Formats whose check only notes what `check -r leaks` mends."""


def claimed() -> set[tuple[str, str]]:
    """Every format and operation that the formats installed here claim by their capabilities."""
    found = set()
    for name in registry.entries():
        held = set(registry.spec(name).capabilities)
        for told, operation in OPERATIONS.items():
            if held >= set(operation.capabilities) and not (operation.plain and name in ALWAYS_ENCRYPTED):
                found.add((name, told))
    return found - set(EXEMPT)


def available() -> list[tuple[str, str]]:
    """Every format and operation that can be tried here."""
    found = []
    for name, operation in OPERATIONS.items():
        for format in operation.formats:
            if format != "raw" and importlib.util.find_spec(f"instar_{format}") is None:
                continue
            if set(operation.capabilities) <= set(registry.spec(format).capabilities) and operation.verb in VERBS:
                found.append((format, name))
    return found
