"""Command lines of qemu-img, drawn at random from what each verb takes and from the ways in which it may be written.

Line number N of a seed is always the same one. Most are right, and many are wrong in one place.
"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from surface_values import (
    AMENDMENTS,
    CACHES,
    CREATE_OPTIONS,
    FORMATS,
    IMAGES,
    NUMBERS,
    OBJECTS,
    SECRET,
    SIZES,
    WRONG_CACHES,
    WRONG_NUMBERS,
    WRONG_SIZES,
)

RARE = 0.06
"""How often a thing is wrong."""


class Opt(NamedTuple):
    """An option: its letter, its long name, what its value is (nothing for a flag), how often it is given."""

    letter: str
    name: str
    value: str = ""
    often: float = 0.12
    new: bool = False
    """Whether an older qemu-img does not have it, or not by this name."""


FMT = Opt("f", "format", "format", 0.5)
IMAGE_OPTS = Opt("", "image-opts", "", 0.15)
OBJECT = Opt("", "object", "object", 0.06)
SHARE = Opt("U", "force-share")
QUIET = Opt("q", "quiet")
PROGRESS = Opt("p", "progress")
OUTPUT = Opt("", "output", "output", 0.3)

VERBS: dict[str, tuple[Opt, ...]] = {
    "amend": (
        Opt("o", "options", "amendment", 0.95), FMT, IMAGE_OPTS, Opt("t", "cache", "cache"), Opt("", "force"), PROGRESS,
        QUIET, OBJECT,
    ),
    "bench": (
        FMT, IMAGE_OPTS, Opt("t", "cache", "bench-cache"), Opt("c", "count", "count", 1.0), Opt("d", "depth", "number"),
        Opt("o", "offset", "offset"), Opt("s", "buffer-size", "buffer"), Opt("S", "step-size", "buffer"),
        Opt("w", "write"), Opt("", "pattern", "number"), Opt("", "flush-interval", "number"), Opt("", "no-drain"),
        Opt("i", "aio", "aio", 0.05), SHARE, Opt("q", "quiet", new=True), Opt("", "object", "object", 0.05, True),
    ),
    "bitmap": (
        FMT, IMAGE_OPTS, Opt("", "add", "", 0.35), Opt("", "remove", "", 0.2), Opt("", "remove-all", "", 0.06, True),
        Opt("", "clear", "", 0.2), Opt("", "enable", "", 0.15), Opt("", "disable", "", 0.15),
        Opt("", "merge", "bitmap", 0.2), Opt("g", "granularity", "granularity", 0.15),
        Opt("b", "source-file", "image", 0.08), Opt("F", "source-format", "format", 0.05), OBJECT,
    ),
    "check": (
        FMT, IMAGE_OPTS, Opt("T", "cache", "cache"), Opt("r", "repair", "repair", 0.3), SHARE, OUTPUT, QUIET, OBJECT,
    ),
    "commit": (
        FMT, IMAGE_OPTS, Opt("t", "cache", "cache"), Opt("d", "drop", "", 0.3), Opt("b", "base", "image", 0.15),
        Opt("r", "rate-limit", "rate", 0.1, True), PROGRESS, QUIET, OBJECT,
    ),
    "compare": (
        Opt("f", "a-format", "format", 0.4), Opt("F", "b-format", "format", 0.3), IMAGE_OPTS,
        Opt("s", "strict", "", 0.3), Opt("T", "cache", "cache"), SHARE, PROGRESS, QUIET, OBJECT,
    ),
    "convert": (
        Opt("f", "source-format", "format", 0.4), Opt("", "source-image-opts", "", 0.0, True), IMAGE_OPTS,
        Opt("T", "source-cache", "cache"), Opt("l", "snapshot", "snapshot", 0.12), Opt("", "bitmaps"),
        Opt("", "skip-broken-bitmaps", "", 0.03), Opt("", "salvage", "", 0.06),
        Opt("O", "target-format", "target", 0.8, True), Opt("o", "target-format-options", "options", 0.35, True),
        Opt("t", "target-cache", "cache", new=True), Opt("b", "backing", "image", 0.06, True),
        Opt("F", "backing-format", "format", 0.06), Opt("S", "sparse-size", "sparse"),
        Opt("n", "no-create", "", 0.12, True), Opt("", "target-image-opts", "", 0.04),
        Opt("", "target-is-zero", "", 0.04),
        Opt("c", "", "", 0.15), Opt("r", "rate-limit", "rate", 0.06, True), Opt("m", "parallel", "number"),
        Opt("W", "oob-writes"), Opt("C", "copy-range-offloading", "", 0.05), SHARE, PROGRESS, QUIET, OBJECT,
    ),
    "create": (
        Opt("f", "format", "target", 0.8), Opt("o", "options", "options", 0.5), Opt("b", "backing", "image", 0.25),
        Opt("B", "backing-format", "format", 0.1, True), Opt("F", "", "format", 0.2), Opt("u", "backing-unsafe"), QUIET,
        OBJECT,
    ),
    "dd": (FMT, IMAGE_OPTS, Opt("O", "output-format", "target", 0.4), SHARE, OBJECT),
    "info": (
        FMT, IMAGE_OPTS, Opt("", "backing-chain", "", 0.3), SHARE, Opt("", "limits", "", 0.06, True),
        Opt("t", "cache", "cache", new=True), OUTPUT, OBJECT,
    ),
    "map": (
        FMT, IMAGE_OPTS, Opt("s", "start-offset", "offset", 0.25), Opt("l", "max-length", "offset", 0.25), OUTPUT,
        SHARE, OBJECT,
    ),
    "measure": (
        Opt("f", "format", "format", 0.3), Opt("", "source-format", "format", 0.05, True), IMAGE_OPTS,
        Opt("l", "snapshot", "snapshot", 0.1), Opt("O", "target-format", "target", 0.8),
        Opt("o", "target-format-options", "options", 0.3, True), OUTPUT, SHARE, Opt("s", "size", "size", 0.3, True),
        OBJECT,
    ),
    "rebase": (
        FMT, IMAGE_OPTS, Opt("t", "cache", "cache"), Opt("b", "backing", "below", 0.85),
        Opt("B", "backing-format", "format", 0.5, True), Opt("F", "", "format", 0.2),
        Opt("T", "backing-cache", "cache"),
        Opt("u", "backing-unsafe", "", 0.4), Opt("c", "compress"), SHARE, PROGRESS, QUIET, OBJECT,
    ),
    "resize": (
        FMT, IMAGE_OPTS, Opt("", "shrink", "", 0.35), Opt("", "preallocation", "preallocation", 0.2), QUIET, OBJECT,
    ),
    "snapshot": (
        FMT, IMAGE_OPTS, Opt("l", "list", "", 0.2), Opt("c", "create", "tag", 0.3, True),
        Opt("a", "apply", "tag", 0.25, True), Opt("d", "delete", "tag", 0.25, True), SHARE, QUIET, OBJECT,
    ),
}  # fmt: skip


class Line(NamedTuple):
    """A command line without the program's name, and whether an older qemu-img reads it alike."""

    words: tuple[str, ...]
    old: bool

    @property
    def verb(self) -> str:
        """What is to be done, empty where the line does not say it."""
        return next((word for word in self.words if word in VERBS), "")


def line(seed: int, number: int) -> Line:
    """Line `number` of the seed. The verbs take turns."""
    verbs = sorted(VERBS)
    return _Draw(Random(f"{seed}:{number}"), verbs[number % len(verbs)]).line()


class _Draw:
    """One line being drawn."""

    def __init__(self, dice: Random, verb: str) -> None:
        self.dice = dice
        self.verb = verb
        self.old = True
        self.image, self.format = self.a_image()
        self.target = dice.choice((*FORMATS, "qcow2", "qcow2", "qcow2", "raw", "raw"))

    def rarely(self, chance: float = RARE) -> bool:
        return self.dice.random() < chance

    def a_image(self) -> tuple[str, str]:
        if self.rarely(0.03):
            return self.dice.choice(("gone", "dir", "gone/x", "x:y", "./gone", "d.raw/x", "file:d.raw", "-")), "raw"
        return self.dice.choice(IMAGES)

    def line(self) -> Line:
        given = [option for option in VERBS[self.verb] if self.rarely(option.often)]
        if not any(option.value == "target" for option in given):
            self.target = "raw"
        described = any(option.name == "image-opts" for option in given)
        if described and not self.rarely():
            given = [option for option in given if option.value != "format" or self.verb in ("convert", "rebase")]
        if given and self.rarely():
            given.append(self.dice.choice(given))
        self.dice.shuffle(given)
        words = self.operands(described)
        for option in self.combined(given):
            at = 0 if self.rarely(0.6) else self.dice.randrange(len(words) + 1)
            words[at:at] = [option] if isinstance(option, tuple) else [(option,)]
        flat = [word for group in words for word in (group if isinstance(group, tuple) else (group,))]
        if self.rarely(0.02):
            self.old = False
            flat.insert(
                self.dice.randrange(len(flat) + 1), self.dice.choice(("--nonsense", "-Z", "--form", "--fo=raw"))
            )
        if self.rarely(0.03):
            flat.insert(self.dice.randrange(len(flat) + 1), "--")
        before: list[str] = []
        if self.rarely(0.02):
            before = self.dice.choice((["--trace", "nbd_*"], ["-T", "nbd_*"], ["--trace=nbd_*"], ["-V"], ["--version"]))
        return Line((*before, self.verb, *self.tame(flat)), self.old)

    def tame(self, words: list[str]) -> list[str]:
        """The words, without sizes that would fill the disk that they are tried on."""
        text = " ".join(words)
        reserved = any(what in text for what in ("full", "falloc", "metadata", "fixed", "Flat", "static"))
        if (
            not reserved
            and self.verb != "resize"
            and (self.verb != "create" or self.target in ("raw", "qcow2", "vmdk"))
        ):
            return words
        if self.verb == "resize" and not reserved:
            return [re.sub(r"^([-+]?)(2T|1p|1E)$", r"\g<1>1G", word) for word in words]
        return [re.sub(r"(?<![0-9])(1[gG]|2T|1p|8E|1E|16E)$", "1M" if reserved else "1G", word) for word in words]

    def combined(self, given: list[Opt]) -> list[tuple[str, ...]]:
        """The options as words; short flags may stand together, with an option of a value behind them."""
        made: list[tuple[str, ...]] = []
        flags = [option.letter for option in given if option.letter and not option.value]
        together = "".join(flags) if len(flags) > 1 and self.rarely(0.5) else ""
        if together:
            made.append((f"-{together}",))
        for option in given:
            if option.value or not (together and option.letter):
                made.append(self.written(option))
        return made

    def written(self, option: Opt) -> tuple[str, ...]:
        """The option in one of the ways in which it may be written."""
        self.old = self.old and not option.new
        value = self.value(option.value) if option.value else ""
        if option.letter and (not option.name or self.rarely(0.6)):
            if not option.value:
                return (f"-{option.letter}",)
            return (f"-{option.letter}{value}",) if value and self.rarely(0.3) else (f"-{option.letter}", value)
        name = option.name
        if self.rarely(0.2):
            name = name[: self.dice.randint(1, len(name))]
            self.old = False
        if not option.value:
            return (f"--{name}=x",) if self.rarely(0.01) else (f"--{name}",)
        return (f"--{name}={value}",) if self.rarely(0.5) else (f"--{name}", value)

    def operands(self, described: bool) -> list[tuple[str, ...]]:
        """The operands of the verb, mostly as many as it takes."""
        verb = self.verb
        first = self.description(self.image, self.format) if described else self.image
        if verb == "dd":
            return self.blocks(first)
        names = [first]
        if verb == "compare":
            other, format = self.a_image()
            names.append(self.description(other, format) if described else other)
        elif verb == "convert":
            if self.rarely(0.08):
                other, format = self.a_image()
                names.append(self.description(other, format) if described else other)
            names.append(self.new())
        elif verb == "create":
            names = [self.new()] + ([self.value("size")] if self.rarely(0.85) else [])
        elif verb == "resize":
            names.append(self.dice.choice(("", "", "+", "-")) + self.value("size"))
        elif verb == "bitmap":
            names.append(self.value("bitmap"))
        elif verb == "measure" and self.rarely(0.35):
            names = []
        if self.rarely(0.02):
            names.append("surplus")
        if names and self.rarely(0.02):
            names.pop()
        return [(name,) for name in names]

    def new(self) -> str:
        """What is made: mostly a new file."""
        if self.rarely(0.2):
            return self.a_image()[0]
        return self.dice.choice(("new", "new", "new", "./new", "file:new", "dir/new", "a,b", "new.img", "gone/new"))

    def blocks(self, name: str) -> list[tuple[str, ...]]:
        found = [f"if={name}", f"of={self.new()}"]
        for key, kind in (("bs", "block"), ("count", "number"), ("skip", "number")):
            if self.rarely(0.4):
                found.append(f"{key}={self.value(kind)}")
        if self.rarely(0.03):
            found.append(self.dice.choice(("foo=1", "conv=sync", "if", "")))
        if self.rarely(0.03):
            found.pop(self.dice.randrange(2))
        return [(word,) for word in found]

    def description(self, name: str, format: str) -> str:
        """The image as an option string."""
        file = name.replace(",", ",,").replace(":", "-")  # a name with a colon is no protocol there
        if self.rarely(0.04) and self.verb in ("bench", "check", "compare", "info", "map"):  # the file itself
            return f"driver=file,filename={file}"
        parts = []
        if not self.rarely(0.15):
            parts.append(f"driver={format if not self.rarely(0.04) else 'foo'}")
        if self.rarely(0.4):
            parts.append("file.driver=file")
        parts.append(f"file.filename={file}")
        if format == "luks" and not self.rarely(0.1):
            parts.append("key-secret=s")
        if name == "sealed.qcow2" and not self.rarely(0.1):
            parts.append("encrypt.key-secret=s")
        extra = (
            "file.locking=off", "file.locking=auto", "cache.direct=off", "discard=unmap", "file.locking=maybe",
            "file.discard=foo", "discard=foo", "file.aio=foo", "detect-zeroes=foo", "file.foo=1", "node-name=1",
        )  # fmt: skip
        if self.rarely(0.1):
            own = ("lazy-refcounts=maybe", "l2-cache-size=1M", "backing=") if format == "qcow2" else ("node-name=n",)
            parts.append(self.dice.choice((*extra, *own, "foo=1")))
        self.dice.shuffle(parts)
        return ",".join(parts)

    def value(self, kind: str) -> str:
        """A value of that kind."""
        return str(getattr(self, "v_" + kind.replace("-", "_"))())

    def v_format(self) -> str:
        if self.rarely():
            return self.dice.choice((*FORMATS, "foo", ""))
        if self.verb in ("create", "rebase", "convert") and self.rarely(0.5):
            return self.dice.choice(("raw", "qcow2"))
        return self.format

    def v_target(self) -> str:
        if self.rarely():
            return self.dice.choice(("foo", "", "dmg", "bochs", "QCOW2"))
        return self.target

    def v_image(self) -> str:
        return self.a_image()[0]

    def v_below(self) -> str:
        return (
            "" if self.rarely(0.2) else self.dice.choice(("base.qcow2", "d.raw", "d.qcow2", "gone", self.a_image()[0]))
        )

    def v_size(self) -> str:
        return self.dice.choice(WRONG_SIZES if self.rarely(0.15) else SIZES)

    v_offset = v_granularity = v_size

    def v_block(self) -> str:
        return self.dice.choice(WRONG_SIZES if self.rarely(0.1) else ("512", "1k", "64k", "1M", "3k", "1000"))

    def v_buffer(self) -> str:
        return self.dice.choice(WRONG_SIZES if self.rarely(0.1) else ("512", "1k", "64k", "4096"))

    def v_sparse(self) -> str:
        return self.dice.choice(WRONG_SIZES if self.rarely(0.2) else ("0", "4k", "512", "64k", "16M", "1M"))

    def v_rate(self) -> str:
        return self.dice.choice(WRONG_SIZES if self.rarely(0.2) else ("100M", "1G", "4294967296", "1T"))

    def v_number(self) -> str:
        return self.dice.choice(WRONG_NUMBERS if self.rarely(0.15) else NUMBERS)

    def v_count(self) -> str:
        return self.dice.choice(WRONG_NUMBERS if self.rarely(0.05) else ("1", "2", "5", "8", "0x4"))

    def v_cache(self) -> str:
        return self.dice.choice(WRONG_CACHES if self.rarely() else CACHES)

    v_bench_cache = v_cache

    def v_aio(self) -> str:
        return self.dice.choice(("threads", "threads", "foo", ""))

    def v_output(self) -> str:
        return self.dice.choice(("xml", "", "JSON")) if self.rarely() else self.dice.choice(("json", "json", "human"))

    def v_repair(self) -> str:
        return self.dice.choice(("leaks", "all", "all", "foo"))

    def v_object(self) -> str:
        return self.dice.choice(OBJECTS) if self.rarely(0.3) else SECRET

    def v_bitmap(self) -> str:
        return self.dice.choice(("b0", "b0", "b1", "new", "ü", ""))

    def v_tag(self) -> str:
        return self.dice.choice(("one", "one", "two", "1", "2", "new", "a b", ""))

    def v_snapshot(self) -> str:
        return self.dice.choice(("one", "two", "1", "snapshot.name=one", "snapshot.id=2", "gone", "snapshot.foo=1", ""))

    def v_preallocation(self) -> str:
        return self.dice.choice(("off", "metadata", "falloc", "full", "foo", ""))

    def v_amendment(self) -> str:
        return self.listed(AMENDMENTS.get(self.format, AMENDMENTS["qcow2"]))

    def v_options(self) -> str:
        return self.listed(CREATE_OPTIONS.get(self.target, CREATE_OPTIONS["raw"]))

    def listed(self, table: dict[str, tuple[str, ...]]) -> str:
        """An option list: one to three of the format's options, and what may be wrong with such a list."""
        items = []
        for key in self.dice.sample(sorted(table), min(len(table), self.dice.choice((1, 1, 2, 3)))):
            value = self.dice.choice(table[key])
            items.append(key if value is None else f"{key}={value}")
        if self.rarely(0.08):
            items.append(self.dice.choice(("foo=1", "foo", "help", "?", "nofoo", "=", "")))
        text = ",".join(items)
        return self.dice.choice((",", "", text + ",", "," + text)) if self.rarely(0.03) else text
