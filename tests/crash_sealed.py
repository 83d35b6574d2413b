"""Encrypted images, and what is done to them while the power is cut."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from crash_content import update
from crash_cuts import ANY, EITHER, LENIENT, SAME, SECTORS, Case, Refused, View, command, deed, foreign
from crash_damage import DAMAGE
from histories import Layer

from instar_core.keyring import Keyring

if TYPE_CHECKING:
    from crash_images import Workshop

    from instar_core.settings import Settings

SECRETS = ("--object", "secret,id=s,data=opensesame", "--object", "secret,id=t,data=barleysesame")
PREFIX = {"luks": "", "qcow2": "encrypt.", "qcow": "encrypt."}
SIZES = 75, 208
"""Sectors of a disk."""
KINDS = {"luks": ("1", "1", "2"), "qcow2": ("luks", "luks", "aes"), "qcow": ("aes",)}
"""Ways in which images of a format are encrypted."""


def keyed() -> Settings:
    """Settings that hold the passphrases."""
    return LENIENT._replace(keyring=Keyring({"s": b"opensesame", "t": b"barleysesame"}))


def opened(format: str, name: str = "disk", before: str = "") -> str:
    """How an encrypted image is opened; `before` stands before each option."""
    return f"{before}driver={format},{before}{PREFIX[format]}key-secret=s,{before}file.filename={name}"


def named(format: str, before: str = "") -> dict[str, object]:
    """The options that name the image's passphrase."""
    return {f"{before}{PREFIX[format]}key-secret": "s"}


def image(
    shop: Workshop, format: str, name: str = "disk", *, kind: str = "", size: int = 0, below: Layer | None = None
) -> Layer:
    """An encrypted image with content."""
    random, prefix = shop.random, PREFIX[format]
    kind = kind or random.choice(KINDS[format])
    size = size or 512 * random.choice(SIZES)
    cluster = random.choice((4096, 65536)) if format == "qcow2" else 4096
    options = f"{prefix}key-secret=s"
    if format == "qcow2":
        options += f",cluster_size={cluster}"
    if format != "luks":
        options += f",encrypt.format={kind}"
    if kind in ("1", "luks"):
        options += f",{prefix}iter-time=10"
    if kind == "2":
        options += f",version=2,pbkdf=pbkdf2,iter-time=10,sector-size={random.choice((512, 4096))}"
        size = -(-size // 4096) * 4096
    words = ["create", "-q", *SECRETS, "-f", format, "-o", options]
    if below is not None:
        words += ["-u", "-b", below.name, "-F", below.format]
    shop.files[name] = (name,)
    layer = Layer(name, format, size, cluster, node=("-d", "unmap", *SECRETS, "--image-opts", opened(format, name)))
    if kind == "2":
        code, said = command(shop.folder, *words, name, str(size))
        assert not code, said
        update(shop.folder, format, name, size, False, random.randrange(1 << 30), keyed(), named(format))
    else:
        (shop.folder / name).write_bytes(created(shop.tools.img, *words, str(size)))
        shop.fill(layer)
    return layer


@cache
def created(img: str, *words: str) -> bytes:
    """A new image. qemu-img takes its time to choose how long a passphrase takes: each is made once."""
    *given, size = words
    with TemporaryDirectory() as folder:
        foreign(Path(folder), img, *given, "disk", size)
        return (Path(folder) / "disk").read_bytes()


def view(layer: Layer, content: str) -> View:
    """The image, looked at with its passphrase."""
    words = (*SECRETS, "--image-opts", opened(layer.format, layer.name))
    return View(layer.name, layer.format, content, named(layer.format), opened=words)


def case(shop: Workshop, operate: object, layer: Layer, content: str) -> Case:
    """One encrypted image that is changed."""
    return Case(shop.folder, operate, (layer.name,), (view(layer, content),), keyed())  # type: ignore[arg-type]


def resize(shop: Workshop, format: str) -> Case:
    """An encrypted disk grows, or shrinks."""
    layer, random = image(shop, format), shop.random
    words = ["resize", "-q", *SECRETS]
    size = layer.size + 4096 * random.randint(1, 112)
    if random.random() < 0.3:
        size = layer.size - 4096 * random.randint(1, 7)
        words.append("--shrink")
    elif format == "qcow2" and random.random() < 0.7:
        words.append(f"--preallocation={random.choice(('off', 'falloc', 'full'))}")
    words += ["--image-opts", opened(format), str(size)]
    return case(shop, deed(shop.folder, *words), layer, EITHER)


def overwrite(shop: Workshop, format: str) -> Case:
    """Other content is written over some of an encrypted image's."""
    layer = image(shop, format)
    seed = shop.random.randrange(1 << 30)
    given = (shop.folder, format, "disk", layer.size, False, seed, keyed(), named(format))
    return case(shop, partial(update, *given), layer, SECTORS)


def convert(shop: Workshop, format: str) -> Case:
    """A disk is converted into an encrypted image that is there."""
    layer = image(shop, format)
    source = shop.image("new", "raw", size=512 * shop.random.randint(1, layer.size // 512))
    words = ("convert", "-n", *SECRETS, "-f", "raw", "-S", shop.random.choice(("0", "4k")), "-t", "writeback")
    operate = deed(shop.folder, *words, "--target-image-opts", source.name, opened(format))
    return case(shop, operate, layer, SECTORS)


def commit(shop: Workshop, format: str) -> Case:
    """What an overlay holds goes to its base: either is encrypted, or both."""
    random = shop.random
    if format == "qcow" and random.random() < 0.5:
        base = shop.image("base", "raw", size=512 * random.choice(SIZES))
        layer = image(shop, format, below=base, size=base.size)
        views = (view(layer, SAME), View("base", "raw", ANY))
        operate = deed(shop.folder, "commit", "-q", *SECRETS, "--image-opts", opened(format))
        return Case(shop.folder, operate, ("disk", "base"), views, keyed())
    base = image(shop, format, "base", kind="1" if format == "luks" else "")
    size = base.size if random.random() < 0.7 else base.size + 4096 * random.randint(1, 40)
    shop.img("create", "-q", "-u", "-f", "qcow2", "-o", "cluster_size=4096", "-b", "base", "-F", format, "disk", size)
    chain = f"driver=qcow2,file.filename=disk,{opened(format, 'base', 'backing.')}"
    layer = Layer("disk", "qcow2", size, 4096, node=("-d", "unmap", *SECRETS, "--image-opts", chain))
    shop.fill(layer)
    overlay = f"driver=qcow2,file.filename=disk,backing.{PREFIX[format]}key-secret=s"
    operate = deed(shop.folder, "commit", "-q", *SECRETS, "--image-opts", overlay)
    top = View("disk", "qcow2", SAME, named(format, "backing."), opened=(*SECRETS, "--image-opts", chain))
    return Case(shop.folder, operate, ("disk", "base"), (top, view(base, ANY)), keyed())


def rebase(shop: Workshop, format: str) -> Case:
    """An encrypted image gets another backing file, its first, or none, and reads the same."""
    random = shop.random
    size = 512 * random.choice(SIZES)
    base = shop.image("base", "raw", size=size) if random.random() < 0.7 else None
    layer = image(shop, format, size=size, below=base)
    other = shop.image("other", "raw", size=size) if random.random() < 0.7 or base is None else None
    words = ["rebase", *SECRETS, "--image-opts", "-b", other.name if other else ""]
    words += ["-F", "raw"] if other else []
    return case(shop, deed(shop.folder, *words, opened(format)), layer, SAME)


def amend(shop: Workshop, format: str) -> Case:
    """A key slot is filled, or emptied; the passphrase of another opens the image all the time."""
    random, prefix = shop.random, PREFIX[format]
    layer = image(shop, format, kind="luks" if format == "qcow2" else "")
    fill = f"{prefix}state=active,{prefix}new-secret=t,{prefix}iter-time=10"
    empty = f"{prefix}state=inactive,{prefix}old-secret=t"
    words = ("amend", *SECRETS, "--image-opts")
    change = fill
    if random.random() < 0.5:
        code, said = command(shop.folder, *words, "-o", fill, opened(format))
        if code:
            raise Refused(said)
        change = empty
    return case(shop, deed(shop.folder, *words, "-o", change, opened(format)), layer, SAME)


def mend(shop: Workshop, format: str) -> Case:
    """A damaged copy of a LUKS2 header is made anew."""
    layer = image(shop, format, kind="2")
    DAMAGE[format](shop, layer)
    # The other copy is whole, so that at any time the volume can be read: no check may find more than that.
    words = ("check", "-q", *SECRETS, "-r", "all", "--image-opts", opened(format))
    made = case(shop, partial(command, shop.folder, *words), layer, SAME)
    return made._replace(views=(made.views[0]._replace(sound=False),))
