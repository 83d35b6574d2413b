"""Content that is written into images while the power is cut: by the library, convert, dd and commit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crash_content import update
from crash_cuts import ANY, SAME, SECTORS, Case, View, deed
from crash_images import DEFAULT, OWN, backed, history

if TYPE_CHECKING:
    from crash_images import Workshop
    from histories import Layer


def overwrite(shop: Workshop, format: str) -> Case:
    """Other content is written over some of the image's."""
    return _overwritten(shop, format, False)


def compressed(shop: Workshop, format: str) -> Case:
    """Other content is written over some of the image's, compressed."""
    return _overwritten(shop, format, True)


def _overwritten(shop: Workshop, format: str, compress: bool) -> Case:
    layer, _ = _target(shop, format, data_file=not compress)
    seed = shop.random.randrange(1 << 30)
    return shop.case(partial(update, shop.folder, format, "disk", layer.size, compress, seed), layer, SECTORS)


def _target(shop: Workshop, format: str, data_file: bool = True) -> tuple[Layer, Layer | None]:
    """An image to write into, and the one below it, if any."""
    base = shop.image("base", "raw", size=512 * 700) if backed(shop, format) else None
    chosen = {} if data_file or format != "qcow2" else {"data_file": DEFAULT}
    layer = shop.image("disk", format, base, **chosen)
    if format == "qcow2":
        history(shop, layer, 0.4)
    return layer, base


def convert(shop: Workshop, format: str) -> Case:
    """A disk is converted into the image, which may be longer."""
    random = shop.random
    compress = format in ("qcow2", "qcow") and random.random() < 0.2
    layer, base = _target(shop, format, not compress)
    size = random.choice((layer.size, 512 * random.randint(1, layer.size // 512)))
    if base is not None and random.random() < 0.3:
        source = shop.image("new", "qcow2", base, size=size)
        words = ["-B", "base", "-f", "qcow2"]
    else:
        source = shop.image("new", "raw", size=size)
        words = ["-f", "raw"]
    words += ["-c"] if compress else []
    words += ["-S", random.choice(("0", "4k", "64k")), "-t", random.choice(("none", "writeback", "writethrough"))]
    operate = deed(shop.folder, "convert", "-n", *words, "-O", format, source.name, "disk")
    return shop.case(operate, layer, SECTORS)


def copied(shop: Workshop, format: str) -> Case:
    """Some blocks of a disk are copied to the start of the image."""
    random = shop.random
    layer, _ = _target(shop, format)
    source = shop.image("new", "raw", size=512 * random.randint(100, layer.size // 512))
    block = random.choice((512, 4096, 65536))
    words = ["-n", "-f", "raw", "-O", format, f"if={source.name}", "of=disk", f"bs={block}"]
    words += [f"count={random.randint(1, max(1, source.size // block))}"] if random.random() < 0.5 else []
    words += [f"skip={random.randint(0, source.size // block // 2)}"] if random.random() < 0.5 else []
    return shop.case(deed(shop.folder, "dd", *words), layer, SECTORS)


def commit(shop: Workshop, format: str) -> Case:
    """What an overlay holds goes to its base; the overlay reads the same all the time."""
    random = shop.random
    below = format if format in OWN else random.choice(("raw", format))
    base = shop.image("base", below, **_extensible(below))
    return _committed(shop, shop.image("disk", format, base, size=random.choice((0, base.size))), base)


def committed_into(shop: Workshop, format: str) -> Case:
    """What a qcow2 overlay holds goes to a base of the format, which may have to grow."""
    base = shop.image("base", format, **_extensible(format))
    size = base.size if shop.random.random() < 0.6 else base.size + 512 * shop.random.randint(1, 900)
    return _committed(shop, shop.image("disk", "qcow2", base, size=size), base)


def _extensible(format: str) -> dict[str, str]:
    """Options of a base that may grow: a fixed VHD has its only footer where it ends."""
    return {"subformat": "dynamic"} if format == "vpc" else {}


def _committed(shop: Workshop, layer: Layer, base: Layer) -> Case:
    random = shop.random
    if base.format == "qcow2":
        history(shop, base, 0.3)
    if layer.format == "qcow2":
        history(shop, layer, 0.15)
    keep = ("-d",) if random.random() < 0.3 else ()
    operate = deed(shop.folder, "commit", "-q", *keep, "-f", layer.format, "disk")
    views = (View("disk", layer.format, SAME), View("base", base.format, ANY))
    return Case(shop.folder, operate, (*shop.files["disk"], *shop.files["base"]), views)
