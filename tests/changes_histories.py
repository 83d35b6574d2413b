"""Random sequences of everything that changes disk images in place: a pure function of a seed and a number."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from histories import CLUSTERS, Layer, Step, writes

KIB, MIB = 1 << 10, 1 << 20
FORMATS = ("qcow2", "raw", "qed", "qcow", "vmdk", "vdi", "vhdx", "vpc", "parallels")
SHARES = (52, 6, 6, 6, 6, 6, 6, 6, 6)
"""Of a hundred sequences that follow one another, so many are of each format."""
LENGTHS = {"qcow2": (3, 9)}
LENGTH = (7, 14)
"""Fewest and most acts of a sequence. Most of what formats other than qcow2 are asked for is refused at once."""
LAYERED = ("qcow2", "qed", "qcow", "vmdk")
TOP, BASE, MIDDLE, OTHER, SOURCE = "top", "base", "middle", "other", "source"


class Act(NamedTuple):
    """A command that changes something: by which program, in which words, and what it is called when counted."""

    name: str
    program: str
    words: tuple[str, ...]


class Sequence(NamedTuple):
    """How the images are made, what is then done to them, and which are looked at after each act: (name, format)."""

    seed: int
    number: int
    format: str
    made: tuple[Step, ...]
    acts: tuple[Act, ...]
    images: tuple[tuple[str, str], ...]


class Scene:
    """The images of a sequence while it is being thought out."""

    def __init__(self, random: Random, format: str) -> None:
        self.random = random
        self.format = format
        self.made: list[Step] = []
        self.layers: dict[str, Layer] = {}
        self.snapshots: list[str] = []
        self.taken = 0
        self.bitmaps: list[str] = []

    def image(self, name: str, format: str, below: Layer | None, size: int) -> Layer:
        """A new image with content."""
        random = self.random
        options, cluster, v3 = _options(random, format, below is not None)
        words = ["create", "-q", "-f", format]
        if options:
            words += ["-o", ",".join(options)]
        if below is not None:
            words += ["-b", below.name, "-F", below.format]
        self.made.append(Step("img", (*words, name, str(size)), True))
        layer = Layer(name, format, size, cluster, v3, node=("-d", "unmap", "-f", format, name))
        self.layers[name] = layer
        self.made.append(_writes(random, layer))
        return layer


def sequence(seed: int, number: int) -> Sequence:
    """The sequence with this number."""
    random = Random(f"changes/{seed}/{number}")
    dealt, place = divmod(number, sum(SHARES))
    deck = [format for format, share in zip(FORMATS, SHARES, strict=True) for _ in range(share)]
    Random(f"formats/{seed}/{dealt}").shuffle(deck)
    format = deck[place]
    scene = Scene(random, format)
    size = _size(random, format)
    below = None
    if format in LAYERED and random.random() < 0.6:
        kind = _below(random, format)
        below = scene.image(BASE, kind, None, _near(random, size))
        if random.random() < 0.3:
            below = scene.image(MIDDLE, format, below, _near(random, size))
    scene.image(TOP, format, below, size)
    acts = [_act(scene) for _ in range(random.randint(*LENGTHS.get(format, LENGTH)))]
    images = tuple((layer.name, layer.format) for layer in scene.layers.values())
    return Sequence(seed, number, format, tuple(scene.made), tuple(acts), images)


def _size(random: Random, format: str) -> int:
    if format in ("vdi", "vhdx", "vpc"):
        return MIB * random.randint(2, 6)
    return 512 * random.randint(100, 4000)


def _near(random: Random, size: int) -> int:
    return size if random.random() < 0.6 else max(512, size + 512 * random.randint(-300, 300))


def _below(random: Random, format: str) -> str:
    return format if format == "vmdk" or random.random() < 0.5 else "raw"


def _options(random: Random, format: str, backed: bool) -> tuple[list[str], int, bool]:
    """Options for a new image, its cluster size, and whether it has qcow2's version 3."""
    if format == "qcow2":
        cluster = random.choice([each for each in CLUSTERS if each <= 65536])
        v3 = random.random() < 0.85
        options = [f"cluster_size={cluster}", f"compat={'1.1' if v3 else '0.10'}"]
        if v3 and cluster >= 16384 and random.random() < 0.35:
            options.append("extended_l2=on")
        if v3 and random.random() < 0.4:
            options.append(f"refcount_bits={random.choice((1, 2, 4, 8, 32, 64))}")
        if v3 and random.random() < 0.15:
            options.append("lazy_refcounts=on")
        if v3 and random.random() < 0.2:
            options.append("compression_type=zstd")
        if not backed and random.random() < 0.1:
            options.append(f"preallocation={random.choice(('metadata', 'falloc', 'full'))}")
        return options, cluster, v3
    if format == "qed":
        cluster = random.choice((4096, 65536))
        return [f"cluster_size={cluster}", f"table_size={random.choice((2, 4))}"], cluster, True
    if format == "parallels":
        return [f"cluster_size={random.choice((65536, MIB))}"], 65536, True
    if format == "vpc":
        return [f"subformat={random.choice(('dynamic', 'dynamic', 'fixed'))}", "force_size=on"], 65536, True
    if format == "vhdx":
        return ["block_size=1M"], 65536, True
    return [], 65536 if format == "vmdk" else 4096, True


def _writes(random: Random, layer: Layer) -> Step:
    """Writes, without the sudden death that leaves what nobody specifies, and one compressed cluster at a time: QEMU
    compresses several at once, they land in any order, and where they share a host cluster that corrupts the image.
    """
    step = writes(random, layer)
    words = [_one_cluster(word, layer.cluster) for word in step.words]
    while "sigraise 9" in words:
        at = words.index("sigraise 9")
        del words[at - 1 : at + 1]
    return Step("io", tuple(words) if words[0] == "-c" else ("-c", "flush", *words))


def _one_cluster(word: str, cluster: int) -> str:
    if not word.startswith("write -c"):
        return word
    *told, length = word.split()
    return " ".join((*told, str(min(int(length), cluster))))


def _act(scene: Scene) -> Act:
    random, format = scene.random, scene.format
    weights = {
        _write: 25,
        _resize: 16,
        _snapshot: 24 if format == "qcow2" else 13,
        _rebase: 16 if format in ("qcow2", "qed") else 13,
        _rebase_unsafe: 5 if format == "qcow2" else 13 if format == "qed" else 3,
        _commit: 14,
        _amend: 12,
        _bitmap: 44 if format == "qcow2" else 13,
        _check: 12,
        _convert: 18,
        _dd: 6 if format == "qcow2" else 12,
    }
    return random.choices(list(weights), list(weights.values()))[0](scene)


def _act_name(scene: Scene, verb: str) -> str:
    """What an act is called: where a format has no snapshots or bitmaps, it matters little what is asked of them."""
    return f"{scene.format} {verb if scene.format == 'qcow2' else verb.split(maxsplit=1)[0]}"


def _write(scene: Scene) -> Act:
    return Act(_act_name(scene, "write"), "io", _writes(scene.random, scene.layers[TOP]).words)


def _resize(scene: Scene) -> Act:
    random, layer = scene.random, scene.layers[TOP]
    step = 512 * random.randint(1, random.choice((4, 300, 3000)))
    words: list[str] = []
    if random.random() < 0.3:
        step = -min(step, max(512, layer.size // 2 // 512 * 512))
    if step < 0 and random.random() < 0.85:
        words.append("--shrink")
    if step > 0 and random.random() < 0.3:
        words.append(f"--preallocation={random.choice(('off', 'metadata', 'falloc', 'full'))}")
    size = max(512, layer.size + step)
    text = str(size) if random.random() < 0.5 else f"{step:+d}"
    if (step > 0 or "--shrink" in words) and text == str(size):
        scene.layers[TOP] = layer._replace(size=size)
    return Act(_act_name(scene, "resize"), "img", ("resize", "-f", scene.format, *words, TOP, text))


def _snapshot(scene: Scene) -> Act:
    random, format = scene.random, scene.format
    what = random.choice("cccaaadd" if scene.snapshots else "cccccccad")
    name = random.choice(scene.snapshots) if scene.snapshots and random.random() < 0.9 else "none"
    if what == "c":
        scene.taken += 1
        name = f"s{scene.taken - 1}"
        scene.snapshots.append(name)
    elif what == "d" and name in scene.snapshots:
        scene.snapshots.remove(name)
    verb = {"c": "snapshot create", "a": "snapshot apply", "d": "snapshot delete"}[what]
    return Act(_act_name(scene, verb), "img", ("snapshot", "-f", format, f"-{what}", name, TOP))


def _other(scene: Scene) -> Layer:
    """A further image to be based on."""
    if OTHER not in scene.layers:
        kind = _below(scene.random, scene.format)
        scene.image(OTHER, kind, None, _near(scene.random, scene.layers[TOP].size))
    return scene.layers[OTHER]


def _rebase(scene: Scene) -> Act:
    compress = scene.format == "qcow2" and scene.random.random() < 0.15
    return Act(_act_name(scene, "rebase"), "img", _rebased(scene, ("-c",) if compress else ()))


def _rebase_unsafe(scene: Scene) -> Act:
    name = "rebase unsafe" if scene.format in ("qcow2", "qed") else "rebase"
    return Act(f"{scene.format} {name}", "img", _rebased(scene, ("-u",)))


def _rebased(scene: Scene, given: tuple[str, ...]) -> tuple[str, ...]:
    random = scene.random
    words = ["rebase", "-f", scene.format, *given]
    draw = random.random()
    names = [name for name in (BASE, MIDDLE) if name in scene.layers]
    if draw < 0.2:
        return (*words, "-b", "", TOP)
    name = random.choice(names) if draw < 0.55 and names else _other(scene).name
    return (*words, "-b", name, "-F", scene.layers[name].format, TOP)


def _commit(scene: Scene) -> Act:
    random = scene.random
    words = ["commit", "-f", scene.format]
    if random.random() < 0.3:
        words.append("-d")
    if random.random() < 0.25:
        words += ["-b", random.choice((BASE, MIDDLE, OTHER))]
    return Act(_act_name(scene, "commit"), "img", (*words, TOP))


def _amend(scene: Scene) -> Act:
    option = scene.random.choice(
        (
            *("lazy_refcounts=on", "lazy_refcounts=off", "compat=1.1", "compat=0.10", "compat=v3"),
            *(f"refcount_bits={bits}" for bits in (1, 2, 4, 8, 16, 32, 64)),
            *("cluster_size=4k", "backing_file=x", "compression_type=zstd", "nonsense=1"),
        )
    )
    return Act(_act_name(scene, "amend"), "img", ("amend", "-f", scene.format, "-o", option, TOP))


def _bitmap(scene: Scene) -> Act:
    random = scene.random
    what = random.choice(("--add", "--remove", "--clear", "--enable", "--disable", "--merge"))
    if not scene.bitmaps and random.random() < 0.5:
        what = "--add"
    known = [*scene.bitmaps, "none"] if random.random() < 0.1 or not scene.bitmaps else scene.bitmaps
    name, words = random.choice(known), [what]
    if what == "--add":
        if random.random() < 0.9 or name == "none":
            name = f"b{len(scene.bitmaps)}"
            scene.bitmaps.append(name)
        if random.random() < 0.7:
            words += ["-g", random.choice(("512", "4096", "65536", "1M"))]
        if random.random() < 0.3:
            words.append("--disable")
    elif what == "--merge":
        words = ["--merge", random.choice(known)]
    return Act(_act_name(scene, f"bitmap {what[2:]}"), "img", ("bitmap", "-f", scene.format, *words, TOP, name))


def _check(scene: Scene) -> Act:
    mode = scene.random.choice(("leaks", "all"))
    return Act(_act_name(scene, "check -r"), "img", ("check", "-f", scene.format, "-r", mode, TOP))


def _convert(scene: Scene) -> Act:
    random, layer = scene.random, scene.layers[TOP]
    if SOURCE not in scene.layers:
        scene.image(SOURCE, random.choice(("raw", "raw", "qcow2")), None, _near(random, layer.size))
    source = scene.layers[SOURCE]
    words = ["convert", "-n", "-f", source.format, "-O", scene.format]
    if random.random() < 0.3:
        words += ["-S", random.choice(("0", "512", "4k", "64k"))]
    if random.random() < 0.15:
        words.append("-c")
    if random.random() < 0.15:
        words += ["-l", "s0"]
    return Act(_act_name(scene, "convert -n"), "img", (*words, source.name, TOP))


def _dd(scene: Scene) -> Act:
    random = scene.random
    words = ["dd", "-f", scene.format, "-O", random.choice(("raw", "raw", "qcow2"))]
    words += [f"bs={random.choice((512, 4096, 65536, 1000))}"]
    for name in ("count", "skip"):
        if random.random() < 0.4:
            words.append(f"{name}={random.randrange(20)}")
    return Act(_act_name(scene, "dd"), "img", (*words, f"if={TOP}", "of=copied"))
