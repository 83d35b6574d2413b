"""What the tables of the command line say, as blocks of pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docs.manual.blocks import Block, Code, Terms
from instar_core.cli import creating, extras, settings_load
from instar_core.cli.getopt import Opt, Verb
from instar_core.types import FormatSpec, Option


def synopsis(command: str, verb: Verb) -> tuple[Block, ...]:
    """How the verb is called. A line of usage that begins with an action, a small word, is a call of its own."""
    start = f"{command} {verb.name} "
    lines = []
    for index, line in enumerate(verb.usage):
        apart = index == 0 or line[:1].islower()
        lines.append((start if apart else " " * len(start)) + line)
    return (Code("\n".join(lines)),)


def options(table: Sequence[Opt], more: dict[str, str]) -> Terms:
    """Every option with all its spellings, what help says of it, and what `more` adds under one of its spellings.

    Raises ValueError where an option has no help, or something was added to an option that is not in the table.
    """
    entries, used = [], set()
    for option in table:
        if not option.help:
            if not any(_same(option, other) for other in table if other.help):
                raise ValueError(f"{option.spellings}: nothing describes it")
            continue
        alike = [option, *(other for other in table if not other.help and _same(option, other))]
        words = sorted(
            {word for each in alike for word in each.spellings}, key=lambda word: (word.startswith("--"), word)
        )
        added = [more[word] for word in words if word in more]
        used |= {word for word in words if word in more}
        value = f" *{shown(option.value)}*" if option.value else ""
        entries.append((", ".join(f"`{word}`" for word in words) + value, "\n".join([sentence(option.help), *added])))
    if set(more) - used:
        raise ValueError(f"no such option: {', '.join(sorted(set(more) - used))}")
    return Terms(tuple(entries))


def _same(option: Opt, other: Opt) -> bool:
    """Whether both mean the same: spellings of one option share key and value."""
    return option.key == other.key and bool(option.value) == bool(other.value) and option.read is other.read


def operands(verb: Verb) -> tuple[tuple[str, str], ...]:
    """The verb's operands and what help says of them."""
    return tuple((f"*{shown(name)}*", sentence(text)) for name, text in verb.operands)


def shown(value: str) -> str:
    """The name of a value, free of what would be taken for mark-up."""
    return value.replace("*", "")


def sentence(lines: Iterable[str]) -> str:
    """The lines of a help text as one sentence."""
    text = " ".join(line.strip() for line in lines)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")


def environment() -> Terms:
    """The variables that settings are read from: each says the same as an option."""
    helps = {option.name: option for option in extras.EXTRAS}
    entries = []
    for name in settings_load.READERS:
        variable = "INSTAR_" + name.upper().replace("-", "_")
        option = helps[name]
        value = f"`={shown(option.value)}`" if option.value else "`=on|off`"
        entries.append((f"`{variable}`{value}".replace("``", ""), f"As `--{name}`: {sentence(option.help)}"))
    return Terms(tuple(entries))


def format_options(spec: FormatSpec) -> tuple[tuple[str, tuple[Option, ...]], ...]:
    """What -o and an option string take for a format, each with a title; those that take nothing are left out."""
    made = creating.options(spec, protocol=spec.name == "raw") if "create" in spec.capabilities else ()
    kinds = (
        ("Given with -o to instar-create(1), instar-convert(1) and instar-measure(1):", made),
        ("Given with -o to instar-amend(1):", tuple(sorted(spec.amend_options))),
        ("Given in an option string (`--image-opts`), when an image is opened:", tuple(sorted(spec.open_options))),
    )
    return tuple((title, found) for title, found in kinds if found)


def option_terms(found: Sequence[Option]) -> Terms:
    """Options of a format, with type, values and default."""
    entries = []
    for option in found:
        type_ = creating.TYPES[option.type]
        facts = [f"One of: {', '.join(option.choices)}."] if option.choices else []
        facts += [f"Default: {option.default}."] if option.default else []
        entries.append((f"`{option.name}`=*{type_}*", " ".join([sentence([escape(option.help)]), *map(escape, facts)])))
    return Terms(tuple(entries))


def escape(plain: str) -> str:
    """Text of a table that has no mark-up, kept from having one."""
    return plain.replace("*", "").replace("`", "'")
