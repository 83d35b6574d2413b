"""Random histories of images of the further formats, and of encrypted ones. See histories."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from histories import (
    ALTERED,
    CLUSTERS,
    GIB,
    KIB,
    MIB,
    REFERENCE,
    SUBFORMATS,
    Creation,
    History,
    Layer,
    Step,
    Target,
    plain,
    writes,
)

SECRET = ("--object", "secret,id=s,data=passphrase")
KINDS = {
    **{"vhdx": 14, "vpc": 14, "vdi": 14, "qed": 15, "qcow": 14, "parallels": 14},
    **{"luks": 5, "qcow2 luks": 3, "qcow2 aes": 3, "qcow aes": 4},
}
"""How often each kind is to be. qemu-img takes seconds for every LUKS header."""
ENCRYPTED = {
    "luks": ("luks", "", ""),
    "qcow2 luks": ("qcow2", "encrypt.format=luks,", "encrypt."),
    "qcow2 aes": ("qcow2", "encrypt.format=aes,", "encrypt."),
    "qcow aes": ("qcow", "encrypt.format=aes,", "encrypt."),
}
"""Format of every encrypted kind, the option that chooses it, and what stands before its options."""
BELOW = {"qed": ("raw", "qcow2", "qed", "qcow"), "qcow": ("raw", "qcow2", "qcow"), "qcow2": ("raw", "qcow", "qed")}
"""Formats that images of a format are laid over."""


class Opened(NamedTuple):
    """How an image is named on a command line: by its file, or by --image-opts where it needs a secret."""

    format: str
    name: str
    spec: str = ""

    @property
    def objects(self) -> tuple[str, ...]:
        """What defines the secret."""
        return SECRET if self.spec else ()

    def words(self, *given: str, declared: bool = True) -> tuple[str, ...]:
        """The words of a command after its verb, of which these are some."""
        if self.spec:
            return (*SECRET, *given, "--image-opts", self.spec)
        return (*given, *(("-f", self.format) if declared else ()), self.name)


def history(seed: int, number: int) -> History:
    """The history with this number."""
    random = Random(f"formats/{seed}/{number}")
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    format = ENCRYPTED[kind][0] if kind in ENCRYPTED else kind
    size = _size(random)
    steps: list[Step] = []
    below: Layer | None = None
    if format in BELOW and random.random() < 0.4:
        below, steps = _below(random, random.choice(BELOW[format]), size)
        if random.random() < 0.4:
            size = _size(random)
    opened, layer, made = _image(random, kind, f"1.{format}", size, below)
    steps = [*steps, *made]
    chain = ((opened.name, format), *(((below.name, below.format),) if below else ()))
    questions = tuple(_questions(random, kind, opened, layer, below))
    targets = tuple(_target(random, opened, layer, below, place) for place in range(random.choice((1, 1, 2))))
    creations = tuple(_creation(random) for _ in range(random.choice((0, 1, 1, 2))))
    return History(
        seed, number, kind, tuple(steps), chain, questions, targets, creations, objects=opened.objects, spec=opened.spec
    )


def _size(random: Random) -> int:
    size = random.choice((64 * KIB, MIB, 3 * MIB, 4096 * random.randint(1, 3000), 512 * random.randint(1, 24_000)))
    return size - 512 * random.randrange(100) if size > MIB and random.random() < 0.3 else size


def _below(random: Random, format: str, size: int) -> tuple[Layer, list[Step]]:
    """A base image."""
    if format == "raw":
        return plain(random, 0, "raw", size, False)
    _, layer, steps = _image(random, format, f"0.{format}", size, None)
    return layer, steps


def _image(random: Random, kind: str, name: str, size: int, below: Layer | None) -> tuple[Opened, Layer, list[Step]]:
    """An image: created or converted, and written to."""
    format, _, prefix = ENCRYPTED.get(kind, (kind, "", ""))
    spec = f"driver={format},{prefix}key-secret=s,file.filename={name}" if kind in ENCRYPTED else ""
    opened = Opened(format, name, spec)
    options = _options(random, kind)
    node = ("-d", "unmap", *opened.words())
    cluster = {"qcow": 512 if below else 4096, "qed": 65536, "luks": 512}.get(format, MIB if size > MIB else 65536)
    layer = Layer(name, format, size, cluster, node=node)
    given = ("-o", ",".join(options)) if options else ()
    converted = below is None and random.random() < 0.3
    if converted:
        source, steps = plain(random, 9, "raw", size, False)
        words = ("convert", *opened.objects, "-f", "raw", "-O", format, *given, source.name, name)
    else:
        steps = []
        over = ("-b", below.name, "-F", below.format) if below else ()
        words = ("create", "-q", *opened.objects, "-f", format, *given, *over, name, str(size))
    steps.append(Step("img", words, True))
    turns = random.choice((0, 1)) if converted else random.choice((0, 1, 1, 1, 2))
    steps += [writes(random, layer) for _ in range(turns)]
    return opened, layer, steps


def _options(random: Random, kind: str) -> list[str]:
    """Options for a new image of this kind."""
    made = {
        "vhdx": _vhdx,
        "vpc": lambda _: random.choice(
            ([], ["force_size=on"], ["subformat=fixed"], ["subformat=fixed", "force_size=on"])
        ),
        "vdi": lambda _: random.choice(([], [], ["static=on"])),
        "qed": _qed,
        "parallels": lambda _: random.choice(([], ["cluster_size=65536"], ["cluster_size=512"], ["cluster_size=256k"])),
        "luks": _luks,
        "qcow2": lambda _: [f"cluster_size={random.choice(CLUSTERS)}"],
        "qcow2 luks": lambda _: [f"cluster_size={random.choice(CLUSTERS)}", *_luks(random, "encrypt.")],
        "qcow2 aes": lambda _: [f"cluster_size={random.choice(CLUSTERS)}"],
    }.get(kind, lambda _: [])(random)
    if kind in ENCRYPTED:
        _, chosen, prefix = ENCRYPTED[kind]
        made = [*([chosen.rstrip(",")] if chosen else []), f"{prefix}key-secret=s", *made]
    return made


def _vhdx(random: Random) -> list[str]:
    made = random.choice(([], ["subformat=dynamic"], ["subformat=fixed"]))
    if random.random() < 0.5:
        made = [*made, f"block_size={random.choice(('1M', '2M', '8M', '32M'))}"]
    if random.random() < 0.2:
        made = [*made, f"log_size={random.choice(('1M', '2M', '3M'))}"]
    return made


def _qed(random: Random) -> list[str]:
    made = [f"cluster_size={random.choice(('4k', '8k', '64k', '256k', '1M'))}"] if random.random() < 0.6 else []
    return [*made, f"table_size={random.choice((2, 4, 8, 16))}"] if random.random() < 0.5 else made


def _luks(random: Random, prefix: str = "") -> list[str]:
    made = ["iter-time=10"]
    if random.random() < 0.4:
        made.append(f"cipher-alg={random.choice(('aes-128', 'aes-256'))}")
    if random.random() < 0.4:
        mode = random.choice(
            (["xts"], ["cbc", "ivgen-alg=essiv", "ivgen-hash-alg=sha256"], ["cbc", "ivgen-alg=plain64"])
        )
        made += [f"cipher-mode={mode[0]}", *mode[1:]]
    if random.random() < 0.4:
        made.append(f"hash-alg={random.choice(('sha1', 'sha256', 'sha512'))}")
    return [prefix + option for option in made]


def _questions(random: Random, kind: str, opened: Opened, layer: Layer, below: Layer | None) -> list[tuple[str, ...]]:
    declared = kind == "vpc" or random.random() < 0.6

    def ask(verb: str, *given: str) -> tuple[str, ...]:
        return (verb, *opened.words(*given, declared=declared))

    json = ("--output=json",)
    asked = [
        ask("info", *json, *(("--backing-chain",) if random.random() < 0.4 else ())),
        ask("map", *json),
        ask("measure", *json, "-O", "raw"),
        ask("measure", *json, "-O", "qcow2", "-o", f"cluster_size={random.choice(CLUSTERS)}"),
        ask("check", *(json if random.random() < 0.7 else ())),
    ]
    for _ in range(2):
        start = random.randrange(layer.size)
        length = random.choice((1, 512, layer.cluster, layer.cluster * 3 + 100, random.randrange(1, layer.size + 1)))
        asked.append(ask("map", *json, "-s", str(start), "-l", str(length)))
    if random.random() < 0.4:
        asked += [ask("info"), ask("map")]
    if opened.spec:
        # Without the secret: what the metadata alone tell, and what is refused.
        asked += [("info", *json, opened.name), ("map", *json, "-f", opened.format, opened.name)]
    if random.random() < 0.08:
        words = ("-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
        secret = () if opened.spec else SECRET
        asked.append(("measure", *secret, *opened.words(*json, "-O", "qcow2", *words)))
    asked += _comparisons(random, opened, below)
    return asked


def _comparisons(random: Random, opened: Opened, below: Layer | None) -> list[tuple[str, ...]]:
    strict = ("-s",) if random.random() < 0.2 else ()
    if opened.spec:
        made = [
            ("compare", *SECRET, *given, "--image-opts", opened.spec, f"driver=raw,file.filename={other}")
            for given, other in ((strict, REFERENCE), ((), ALTERED))
        ]
    else:
        made = [
            ("compare", *given, "-f", opened.format, "-F", "raw", opened.name, other)
            for given, other in ((strict, REFERENCE), ((), ALTERED))
        ]
        if below:
            made.append(("compare", "-f", opened.format, "-F", below.format, opened.name, below.name))
    return made


def _target(random: Random, opened: Opened, layer: Layer, below: Layer | None, place: int) -> Target:
    """A conversion of the image to some format."""
    kinds = ["raw", "qcow2", "vmdk", *KINDS]
    kind = random.choices(kinds, [2, 2, 2, *([3] * len(KINDS))])[0]
    format, _, prefix = ENCRYPTED.get(kind, (kind, "", ""))
    name = f"target{place}.{format}"
    spec = f"driver={format},{prefix}key-secret=s,file.filename={name}" if kind in ENCRYPTED else ""
    options = [f"subformat={random.choice(SUBFORMATS)}"] if kind == "vmdk" else _options(random, kind)
    words = ["convert", *(SECRET if opened.spec or spec else ())]
    words += ["--image-opts"] if opened.spec else ["-f", opened.format]
    words += ["-O", format]
    if format in BELOW and below and not opened.spec and random.random() < 0.3:
        words += ["-B", below.name, "-F", below.format]
    elif kind in ("qcow2", "qcow") and random.random() < 0.3:
        words.append("-c")
    if options:
        words += ["-o", ",".join(options)]
    for chance, more in ((0.2, ["-S", random.choice(("0", "512", "4k", "64k"))]), (0.2, ["-W"]), (0.2, ["-m", "3"])):
        if random.random() < chance:
            words += more
    return Target(tuple(words), name, format, spec=spec)


SIZES = {
    "vhdx": (64 << 40, 1 << 62),
    "vpc": (2040 * GIB, 2041 * GIB, 127 * GIB),
    "vdi": (0x1FFFFF8000000, 0x1FFFFF8000200),
    "qed": (1 << 46, 1 << 50, (1 << 63) - 512),
    "qcow": (0, 1 << 40, 1 << 62),
    "parallels": (1 << 42, 1 << 53, (1 << 63) - 512),
    "luks": (0, 1 << 43, (1 << 63) - 1024),
    "qcow2": (1 << 56,),
}
"""At or over what a format can be."""
WRONG = {
    "vhdx": (
        "block_size=3M",
        "block_size=512M",
        "block_size=100",
        "log_size=512k",
        "subformat=sparse",
        "block_size=-1",
    ),
    "vpc": ("subformat=differencing", "force_size=maybe", "cluster_size=4k"),
    "vdi": ("static=perhaps", "preallocation=metadata", "block_size=1M"),
    "qed": ("cluster_size=2k", "cluster_size=128M", "cluster_size=5k", "table_size=3", "table_size=32", "table_size=0"),
    "qcow": ("encrypt.format=luks", "cluster_size=4k", "encryption=on", "encrypt.key-secret=nosuch"),
    "parallels": ("cluster_size=1000000000000", "cluster_size=x", "tracks=63"),
    "luks": (
        *("key-secret=nosuch", "cipher-alg=rot13", "cipher-mode=gcm", "ivgen-alg=none", "hash-alg=crc32"),
        *("iter-time=0", "cipher-alg=cast5-128", "ivgen-alg=essiv"),
    ),
    "qcow2": ("encrypt.format=rot13", "encrypt.key-secret=nosuch", "encryption=on"),
}
"""Options that are refused, or that mean something odd."""


def _creation(random: Random) -> Creation:
    """A new empty image that both programs are to make, or to refuse."""
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    format, _, _ = ENCRYPTED.get(kind, (kind, "", ""))
    options = _options(random, kind)
    size = random.choice((512, 1000, 64 * KIB, MIB + 512, 100 * MIB, GIB, 100 * GIB))
    if kind == "vhdx" or "static=on" in options or "subformat=fixed" in options:
        size = min(size, 100 * MIB)
    if random.random() < 0.15:
        size = random.choice(SIZES[format])
        options = [option for option in options if option not in ("static=on", "subformat=fixed")]
    elif random.random() < 0.3:
        options.append(random.choice(WRONG[format]))
    objects = SECRET if kind in ENCRYPTED or random.random() < 0.1 else ()
    words = ("create", *objects, "-f", format, *(("-o", ",".join(options)) if options else ()))
    return words, f"made.{format}", str(size)
