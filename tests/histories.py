"""Random histories of disk images: the commands that make one, and the questions to ask of it afterwards.

A history is a pure function of a seed and a number; nothing is run here. Commands are those of qemu-img and qemu-io,
files are named by their place in the chain, so that two histories are the same exactly if their commands are.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
NOISE = "noise"
"""A file of random bytes, of which incompressible content is made."""
NOISE_SIZE = 256 * KIB
REFERENCE, ALTERED = "reference.raw", "altered.raw"
"""The disk as qemu-img converts it, and the same with one byte changed."""
CLUSTERS = (512, 1024, 2048, 4096, 4096, 8192, 16384, 65536, 65536, 131072, 1 << 20, 2 << 20)
SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
SPARSE = ("monolithicSparse", "twoGbMaxExtentSparse")


class Step(NamedTuple):
    """A command: img or io, and the words after it. Only with `must` does its failure spoil the history."""

    program: str
    words: tuple[str, ...]
    must: bool = False


class Target(NamedTuple):
    """A conversion to make: the words before the source, the new file, its format, and how it must be made before."""

    words: tuple[str, ...]
    name: str
    format: str
    before: tuple[Step, ...] = ()
    snapshot: str = ""
    spec: str = ""
    """How to open what was made where that needs a secret."""


Creation = tuple[tuple[str, ...], str, str]
"""Words of `create` before the name, the name, those after it."""


class History(NamedTuple):
    """How an image came to be, and what to ask of it. With `huge` its content is not to be copied."""

    seed: int
    number: int
    kind: str
    steps: tuple[Step, ...]
    chain: tuple[tuple[str, str], ...]
    """Name and format of every image, top first."""
    questions: tuple[tuple[str, ...], ...]
    targets: tuple[Target, ...]
    creations: tuple[Creation, ...]
    huge: bool = False
    objects: tuple[str, ...] = ()
    """What defines the secret that the image needs."""
    spec: str = ""
    """How to open the image where that needs a secret."""


class Layer(NamedTuple):
    """An image of a chain while its history is being thought out."""

    name: str
    format: str
    size: int
    cluster: int = 512
    v3: bool = False
    external: bool = False
    """Whether its content lies in a data file."""
    node: tuple[str, ...] = ()


def history(seed: int, number: int) -> History:
    """The history with this number."""
    random = Random(f"{seed}/{number}")
    kind = random.choices(("qcow2", "vmdk", "raw"), (70, 22, 8))[0]
    huge = kind == "qcow2" and random.random() < 0.05
    make = {"qcow2": _qcow2_chain, "vmdk": _vmdk_chain, "raw": _raw}[kind]
    steps, layers = make(random, huge)
    top = layers[0]
    chain = tuple((layer.name, layer.format) for layer in layers)
    questions = tuple(_questions(random, layers, huge))
    targets = () if huge else tuple(_target(random, layers, number) for number in range(random.choice((1, 1, 2))))
    creations = (_creation(random),) if random.random() < 0.3 else ()
    return History(seed, number, f"{kind} {top.format}", tuple(steps), chain, questions, targets, creations, huge)


def _size(random: Random, cluster: int, huge: bool) -> int:
    if huge:
        return random.choice((3 * GIB, 64 * GIB, GIB * 1024)) + 512 * random.randrange(4096)
    size = min(max(cluster * random.randint(1, 300), 64 * KIB), 12 * MIB)
    return size - 512 * random.randrange(100) if random.random() < 0.5 else size


def _qcow2_chain(random: Random, huge: bool) -> tuple[list[Step], list[Layer]]:
    depth = random.choices((1, 2, 3, 4), (50, 25, 15, 10))[0]
    steps: list[Step] = []
    layers: list[Layer] = []
    size = 0
    for number in range(depth):
        format = "qcow2"
        if depth > 1 and number == 0:
            format = random.choices(("raw", "qcow2", "vmdk"), (30, 60, 10))[0]
        below = layers[0] if layers else None
        if below is None or random.random() < 0.3:
            size = _size(random, random.choice(CLUSTERS), huge)
        if format == "qcow2":
            layer, made = _qcow2(random, number, size, below, huge)
        else:
            layer, made = plain(random, number, format, size, huge)
        steps += made
        layers.insert(0, layer)
    return steps, layers


def _qcow2(random: Random, number: int, size: int, below: Layer | None, huge: bool) -> tuple[Layer, list[Step]]:
    """A qcow2 image over `below`: created, written to, snapshotted, resized."""
    name = f"{number}.qcow2"
    cluster = random.choice([each for each in CLUSTERS if not huge or each >= 16384])
    v3 = random.random() < 0.85
    options = [f"cluster_size={cluster}", f"compat={'1.1' if v3 else '0.10'}"]
    external = extended = False
    if v3:
        if cluster >= 16384 and random.random() < 0.3:
            options.append("extended_l2=on")
            extended = True
        if random.random() < 0.4:
            options.append(f"refcount_bits={random.choice((1, 2, 4, 8, 32, 64))}")
        if random.random() < 0.25:
            options.append("lazy_refcounts=on")
        if random.random() < 0.3:
            options.append("compression_type=zstd")
        external = random.random() < 0.12
        if external:
            options.append(f"data_file={number}.data")
            if below is None and random.random() < 0.4:
                options.append("data_file_raw=on")
    if not huge and (below is None or extended) and random.random() < 0.18:
        options.append(f"preallocation={random.choice(('metadata', 'metadata', 'falloc', 'full'))}")
    words = ["create", "-q", "-f", "qcow2", "-o", ",".join(options)]
    if below is not None:
        words += ["-b", below.name, "-F", below.format]
    steps = [Step("img", (*words, name, str(size)), True)]
    node = ("-d", "unmap", "-f", "qcow2", name)
    if random.random() < 0.1:
        node = ("-d", "unmap", "--image-opts", f"driver=qcow2,discard-no-unref=on,file.filename={name}")
    layer = Layer(name, "qcow2", size, cluster, v3, external, node)
    for turn in range(random.choice((1, 1, 2, 3))):
        steps.append(writes(random, layer))
        if random.random() < 0.45:
            step, grown = _event(random, layer, turn)
            steps.append(step)
            layer = layer._replace(size=grown)
            if random.random() < 0.7:
                steps.append(writes(random, layer))
    return layer, steps


def _event(random: Random, layer: Layer, turn: int) -> tuple[Step, int]:
    """Something that happens to a qcow2 image between writes, and its size afterwards if that succeeds."""
    name, size = layer.name, layer.size
    what = random.choice(("take", "take", "take", "drop", "apply", "grow", "shrink", "bitmap", "bitmap", "amend"))
    if what == "take":
        return Step("img", ("snapshot", "-c", f"s{turn}", name)), size
    if what in ("drop", "apply"):
        return Step("img", ("snapshot", "-d" if what == "drop" else "-a", "s0", name)), size
    if what == "grow":
        size += 512 * random.randrange(1, 4096)
        return Step("img", ("resize", "-q", "-f", "qcow2", name, str(size))), size
    if what == "shrink":
        size = max(512, size - 512 * random.randrange(1, 1024))
        return Step("img", ("resize", "-q", "--shrink", "-f", "qcow2", name, str(size))), size
    if what == "bitmap":
        grain = random.choice((512, 4096, 65536, 1 << 20))
        extra = random.choice(((), (), ("--disable",)))
        return Step("img", ("bitmap", "-f", "qcow2", "--add", "-g", str(grain), *extra, name, f"b{turn}")), size
    option = random.choice(("lazy_refcounts=on", "refcount_bits=32", "refcount_bits=8", "compat=1.1", "compat=0.10"))
    if "bits" in option and (size >= GIB or layer.cluster > 65536):  # qemu-img takes minutes for that
        option = "lazy_refcounts=off"
    return Step("img", ("amend", "-q", "-f", "qcow2", "-o", option, name)), size


def writes(random: Random, layer: Layer) -> Step:
    """One run of qemu-io: writes of all kinds, and sometimes its sudden death."""
    commands = [_write(random, layer) for _ in range(random.randint(1, 12))]
    if random.random() < 0.05:
        commands.append("sigraise 9")
    return Step("io", tuple(word for command in commands for word in ("-c", command)) + layer.node)


def _write(random: Random, layer: Layer) -> str:
    size, cluster = layer.size, layer.cluster
    unit = random.choice((cluster, cluster, 512, 4096))
    if random.random() < 0.04:
        unit = 1
    start = random.randrange(max(1, size // unit)) * unit
    if random.random() < 0.3:  # close to the start, so that writes meet one another
        start = min(start, unit * random.randrange(4))
    length = random.choice((unit, unit * random.randint(1, 9), cluster, cluster * random.randint(1, 5)))
    length = max(1, min(length, size - start, max(cluster, 256 * KIB)))
    what = random.choices(
        ("write", "noise", "zero", "unmap", "discard", "compress", "nothing"), (28, 8, 12, 8, 10, 16, 4)
    )
    pattern = random.randint(1, 255)
    if what[0] == "compress":
        start = start // cluster * cluster
        length = min(max(1, length // cluster) * cluster, size - start)
        if random.random() < 0.4:
            return f"write -c -s {NOISE} {start} {length}"
        return f"write -c -P {pattern} {start} {length}"
    return {
        "write": f"write -P {pattern} {start} {length}",
        "noise": f"write -s {NOISE} {start} {length}",
        "zero": f"write -z {start} {length}",
        "unmap": f"write -z -u {start} {length}",
        "discard": f"discard {start} {length}",
        "nothing": f"write -P 0 {start} {length}",
    }[what[0]]


def plain(random: Random, number: int, format: str, size: int, huge: bool) -> tuple[Layer, list[Step]]:
    """A base image of another format."""
    if format == "vmdk":
        return _vmdk(random, number, size, None, random.choice(SUBFORMATS[:4] if not huge else SPARSE))
    name = f"{number}.raw"
    layer = Layer(name, "raw", size, 4096, node=("-d", "unmap", "-f", "raw", name))
    return layer, [Step("img", ("create", "-q", "-f", "raw", name, str(size)), True), writes(random, layer)]


def _raw(random: Random, huge: bool) -> tuple[list[Step], list[Layer]]:
    size = _size(random, 4096, huge)
    if random.random() < 0.3:
        size += random.randrange(512)
    layer, steps = plain(random, 0, "raw", size, huge)
    if random.random() < 0.4:
        layer = layer._replace(size=size + 512 * random.randrange(1, 2048))
        steps += [
            Step("img", ("resize", "-q", "-f", "raw", layer.name, str(layer.size))),
            writes(random, layer),
        ]
    return steps, [layer]


def _vmdk_chain(random: Random, huge: bool) -> tuple[list[Step], list[Layer]]:
    depth = random.choices((1, 2, 3), (65, 25, 10))[0]
    size = _size(random, 65536, huge)
    steps: list[Step] = []
    layers: list[Layer] = []
    for number in range(depth):
        subformat = random.choice(SUBFORMATS if depth == 1 else SPARSE)
        layer, made = _vmdk(random, number, size, layers[0] if layers else None, subformat)
        steps += made
        layers.insert(0, layer)
    return steps, layers


def _vmdk(random: Random, number: int, size: int, below: Layer | None, subformat: str) -> tuple[Layer, list[Step]]:
    name = f"{number}.vmdk"
    layer = Layer(name, "vmdk", size, 65536, node=("-d", "unmap", "-f", "vmdk", name))
    options = [f"subformat={subformat}"]
    if "Sparse" in subformat and random.random() < 0.4:
        options.append("zeroed_grain=on")
    if random.random() < 0.3:
        options.append(f"adapter_type={random.choice(('ide', 'lsilogic', 'buslogic', 'legacyESX'))}")
    if random.random() < 0.2:
        options.append("compat6=on")
    if subformat == "streamOptimized" or (below is None and random.random() < 0.2):
        source, steps = plain(random, number, "raw", size, False)
        convert = ("convert", "-f", "raw", "-O", "vmdk", "-o", ",".join(options), source.name, name)
        return layer, [*steps, Step("img", convert, True)]
    words = ["create", "-q", "-f", "vmdk", "-o", ",".join(options)]
    if below is not None:
        words += ["-b", below.name, "-F", "vmdk"]
    steps = [Step("img", (*words, name, str(size)), True)]
    return layer, steps + [writes(random, layer) for _ in range(random.choice((1, 1, 2)))]


def _questions(random: Random, layers: list[Layer], huge: bool) -> list[tuple[str, ...]]:
    """Commands that only read; both programs must answer them alike."""
    top = layers[0]
    asked: list[tuple[str, ...]] = [
        ("info", "--output=json", *(("--backing-chain",) if random.random() < 0.4 else ()), top.name),
        ("map", "--output=json", top.name),
        ("measure", "--output=json", "-O", "raw", top.name),
        ("measure", "--output=json", "-O", "qcow2", *_measure_options(random, huge), top.name),
        ("check", *(("--output=json",) if random.random() < 0.7 else ()), top.name),
    ]
    for _ in range(2):
        start = random.randrange(top.size)
        length = random.choice((1, 512, top.cluster, top.cluster * 3 + 100, random.randrange(1, top.size)))
        given = ("-s", str(start)) if random.random() < 0.8 else ()
        asked.append(("map", "--output=json", *given, "-l", str(length), top.name))
    if random.random() < 0.3:
        asked.append(("info", top.name))
    if random.random() < 0.3:
        asked.append(("map", top.name))
    if top.format == "qcow2":
        asked.append(("snapshot", "-l", top.name))
        if random.random() < 0.3:
            asked.append(("measure", "--output=json", "-O", "qcow2", "-l", "s0", top.name))
    if not huge:
        strict = ("-s",) if random.random() < 0.2 else ()
        asked.append(("compare", *strict, "-f", top.format, "-F", "raw", top.name, REFERENCE))
        asked.append(("compare", "-f", top.format, "-F", "raw", top.name, ALTERED))
        if len(layers) > 1:
            asked.append(("compare", *strict, top.name, layers[-1].name))
    return asked


def _measure_options(random: Random, huge: bool) -> tuple[str, ...]:
    if random.random() < 0.4:
        return ()
    # Of an image that is there, qemu-img also measures what it would then refuse to create.
    chosen = [f"cluster_size={random.choice([each for each in CLUSTERS if not huge or each >= 4096])}"]
    if random.random() < 0.3:
        chosen.append(f"refcount_bits={random.choice((1, 4, 64))}")
    return ("-o", ",".join(chosen))


def _target_options(random: Random, compress: bool) -> list[str]:
    cluster = random.choice(CLUSTERS)
    v3 = random.random() < 0.85
    options = [f"cluster_size={cluster}", f"compat={'1.1' if v3 else '0.10'}"]
    if v3:
        if cluster >= 16384 and random.random() < 0.3:
            options.append("extended_l2=on")
        if random.random() < 0.4:
            options.append(f"refcount_bits={random.choice((1, 2, 4, 8, 32, 64))}")
        if random.random() < 0.2:
            options.append("lazy_refcounts=on")
        if random.random() < 0.3:
            options.append("compression_type=zstd")
    if not compress and random.random() < 0.2:
        options.append(f"preallocation={random.choice(('metadata', 'falloc', 'full'))}")
    return options


def _target(random: Random, layers: list[Layer], number: int) -> Target:
    """A conversion of the image to some format."""
    top = layers[0]
    format = random.choices(("qcow2", "vmdk", "raw"), (60, 25, 15))[0]
    name = f"target{number}.{format}"
    compress = format == "qcow2" and random.random() < 0.35
    words = ["convert", "-O", format]
    before: tuple[Step, ...] = ()
    snapshot = ""
    if top.format == "qcow2" and random.random() < 0.15:
        snapshot = "s0"
        words += ["-l", snapshot]
    again = format != "vmdk" and not snapshot and random.random() < 0.15
    if format == "qcow2":
        options = _target_options(random, compress)
        if again:
            fresh = ("convert", "-f", top.format, "-O", "qcow2", "-o", ",".join(options), top.name, name)
            before = (
                Step("img", fresh, True),
                Step("io", ("-c", f"write -z 0 {top.size // 512 * 512}", "-f", "qcow2", name)),
            )
        else:
            if len(layers) > 1 and not snapshot and random.random() < 0.3:
                words += ["-B", layers[1].name, "-F", layers[1].format]
                options = [option for option in options if not option.startswith("preallocation")]
            elif not compress and random.random() < 0.1 and "compat=1.1" in options:
                options.append(f"data_file=target{number}.data")
            words += ["-o", ",".join(options)]
        if compress and not any(option.startswith(("preallocation", "data_file")) for option in options):
            words.append("-c")
    elif format == "vmdk":
        words += ["-o", f"subformat={random.choice(SUBFORMATS)}"]
    elif again:
        before = (Step("img", ("create", "-q", "-f", "raw", name, str(-(-top.size // 512) * 512)), True),)
    if again:
        words.append("-n")
    if random.random() < 0.3:
        words += ["-S", random.choice(("0", "512", "4k", "64k"))]
    if random.random() < 0.2:
        words += ["-W"]
    if random.random() < 0.2:
        words += ["-m", str(random.randint(1, 16))]
    return Target(tuple(words), name, format, before, snapshot)


def _creation(random: Random) -> Creation:
    """A new empty image that both programs are to make."""
    if random.random() < 0.3:
        words = ("create", "-f", "vmdk", "-o", f"subformat={random.choice(SUBFORMATS)}")
        return words, "made.vmdk", str(random.randint(1, 5000) * 512)
    size = random.choice((512, 64 * KIB, MIB + 512, 100 * MIB, GIB, 100 * GIB))
    options = _target_options(random, True)
    if size <= GIB and random.random() < 0.3:
        options.append("preallocation=metadata")
    return ("create", "-f", "qcow2", "-o", ",".join(options)), "made.qcow2", str(size)
