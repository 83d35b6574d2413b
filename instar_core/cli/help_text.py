"""Help texts, made from the tables that the command line is parsed by."""

from __future__ import annotations

from instar_core.cli import extras, getopt, main, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_core.cli.call import Call

WIDTH = 76


def overview(call: Call) -> str:
    """What `--help` prints: the verbs and the formats that are installed."""
    lines = [version.told(call.qemu).rstrip("\n")]
    lines += ["Disk image utility.  Usage:", ""]
    lines += [f"  {call.name} [standard options] COMMAND [--help | command options]", ""]
    lines += ["Standard options:", *_options(main.STANDARD), ""]
    lines += [f"Recognized commands (run {call.name} COMMAND --help for command-specific help):", ""]
    names = sorted(main.VERBS if call.qemu else main.VERBS + main.OWN)
    lines += [f"  {name} - {main.verb_module(name).VERB.summary}" for name in names]
    lines += ["", "Supported image formats:", "", *_wrapped(_formats()), ""]
    if not call.qemu:
        lines += ["Options of every command:", *_options(extras.EXTRAS), ""]
    return "\n".join(lines) + "\n"


def verb(call: Call, of: getopt.Verb) -> str:
    """What `VERB --help` prints."""
    lines = ["Usage:", *_usage(call.name, of), "", f"{of.summary}.", "", "Arguments:"]
    lines += _options((getopt.HELP, *of.options))
    for name, text in of.operands:
        lines += [f"  {name}", *(f"     {line}" for line in text)]
    lines.append("")
    if not call.qemu:
        lines += ["Options of every command:", *_options(extras.EXTRAS), ""]
    return "\n".join(lines) + "\n"


def _usage(name: str, of: getopt.Verb) -> list[str]:
    first, *others = of.usage
    return [f"  {name} {of.name} {first}".rstrip(), *(f"        {line}" for line in others)]


def _options(options: Iterable[getopt.Opt]) -> list[str]:
    lines = []
    for option in options:
        if not option.help:
            continue
        lines.append(f"  {', '.join(option.spellings)} {option.value}".rstrip())
        lines += [f"     {line}" for line in option.help]
    return lines


def _formats() -> list[str]:
    from instar_core import registry

    return sorted(entry.name for entry, spec, _ in registry.formats() if spec is not None)


def _wrapped(words: Iterable[str]) -> list[str]:
    lines = [" "]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return lines
