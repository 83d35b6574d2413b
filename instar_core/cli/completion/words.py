"""The words that can stand in a command line, whatever the shell."""

from __future__ import annotations

import re
from typing import NamedTuple

from instar_core.cli import bench, creating, extras, getopt, main, values
from instar_core.operations.resize import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_core.cli.getopt import Opt, Verb
    from instar_core.types import FormatSpec, Option

TARGETS = ("target_format", "output_format")
"""Keys of options that name the format of an image to be made."""
SOURCES = ("format", "first", "second", "backing_format", "source_format")
"""Keys of options that name the format of an image that is there."""
FILES = ("backing", "base", "source")
"""Keys of options that name a file."""
LISTED = re.compile(r"(?:allowed values|choices|can be one of|can be either|formats are):? (.*?)(?:\. |$)")
"""Where the help of an option lists what its value can be."""
BETWEEN = ("or", "default")


class Value(NamedTuple):
    """What can follow an option: one of `words`, the name of a file, or a list of a format's options, for which
    `list_of` is "create" or "amend"."""

    words: tuple[str, ...] = ()
    file: bool = False
    list_of: str = ""


class Choice(NamedTuple):
    """An option with its spellings, `-x` first, what is said of it, its value (None where it takes none), and whether
    it may be given more than once."""

    spellings: tuple[str, ...]
    text: str
    value: Value | None
    again: bool


class Command(NamedTuple):
    """A verb with its options, the words that can be operands besides the names of files, and the spellings of the
    options that say of which format the lists of `list_of` are."""

    name: str
    text: str
    options: tuple[Choice, ...]
    operands: tuple[str, ...]
    formats: tuple[str, ...]


class Setting(NamedTuple):
    """An option of a format: what is said of it, and the words that its value can be."""

    name: str
    text: str
    words: tuple[str, ...]


class Known(NamedTuple):
    """All there is to offer. `lists` holds the options of each format, by "create" or "amend" and its name."""

    standard: tuple[Choice, ...]
    verbs: tuple[Command, ...]
    own: tuple[Command, ...]
    """Verbs that are not there under the name qemu-img."""
    every: tuple[Choice, ...]
    lists: dict[tuple[str, str], tuple[Setting, ...]]


def gather(specs: Sequence[FormatSpec]) -> Known:
    """The words of all verbs, for these formats."""
    formats = tuple(sorted(spec.name for spec in specs))
    made = tuple(sorted(spec.name for spec in specs if "create" in spec.capabilities))
    lists = {}
    for spec in specs:
        if spec.name in made:
            lists["create", spec.name] = tuple(_setting(each, formats) for each in creating.options(spec))
        if spec.amend_options:
            lists["amend", spec.name] = tuple(_setting(each, formats) for each in sorted(spec.amend_options))
    return Known(
        tuple(_choice("", each, formats, made) for each in main.STANDARD),
        tuple(_command(main.verb_module(name).VERB, formats, made) for name in sorted(main.VERBS)),
        tuple(_command(main.verb_module(name).VERB, formats, made) for name in sorted(main.OWN)),
        tuple(_choice("", each, formats, made) for each in extras.EXTRAS),
        lists,
    )


def _command(verb: Verb, formats: tuple[str, ...], made: tuple[str, ...]) -> Command:
    options = tuple(_choice(verb.name, each, formats, made) for each in (getopt.HELP, *verb.options))
    key = "format" if verb.name in ("create", "amend") else "target_format"
    spellings = tuple(word for each in verb.options if each.key == key for word in each.spellings)
    if verb.name == "dd":
        operands = tuple(name.partition("=")[0] + "=" for name, _ in verb.operands)
    else:
        operands = tuple(
            line.partition(":")[0]
            for name, text in verb.operands
            if name == "ACTION"
            for line in text
            if line[:1] != " "
        )
    return Command(verb.name, verb.summary, options, operands, spellings)


def _choice(verb: str, option: Opt, formats: tuple[str, ...], made: tuple[str, ...]) -> Choice:
    text = " ".join(option.help) or "an older spelling"
    return Choice(option.spellings, text, _value(verb, option, formats, made) if option.value else None, option.add)


def _value(verb: str, option: Opt, formats: tuple[str, ...], made: tuple[str, ...]) -> Value:
    key, choices = option.key, tuple(option.value.split("|"))
    if key in TARGETS or (key == "format" and verb == "create"):
        return Value(made)
    if key in SOURCES:
        return Value(formats)
    if key == "options":
        return Value(list_of="amend" if verb == "amend" else "create")
    if "cache" in key:
        return Value(values.CACHES)
    if key == "aio":
        return Value(bench.AIO)
    if key == "preallocation":
        return Value(tuple(MODES))
    if option.value == "POLICY":
        return Value(extras.POLICIES)
    if key == "object":
        return Value(("secret,id=",))
    if key in FILES or "FILE" in choices:
        return Value(file=True)
    return Value(choices if len(choices) > 1 and all(each.islower() for each in choices) else ())


def _setting(option: Option, formats: tuple[str, ...]) -> Setting:
    words = option.choices or (("on", "off") if option.type == "bool" else ())
    if option.name == "backing_fmt":
        words = formats
    listed = LISTED.search(option.help)
    if not words and listed:
        words = tuple(word for word in re.findall(r"[A-Za-z]\w+", listed[1]) if word not in BETWEEN)
    return Setting(option.name, option.help, words)
