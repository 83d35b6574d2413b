"""The script for zsh: a function for its own completion system."""

from __future__ import annotations

from shlex import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_core.cli.completion.words import Choice, Command, Known, Setting

FRAME = r"""#compdef @COMMAND
# zsh completion for @COMMAND. Generated from the tables of the command line.

# An option list: its kind, then the spellings of the options that choose the format.
@NAME_list() {
    local kind=$1 word format=raw
    shift
    for word; do
        [[ -n ${opt_args[$word]} ]] && format=${opt_args[$word]}
    done
    case "$kind $format" in
@LISTS
        *) _message 'options of the format' ;;
    esac
}

@NAME_operands() { # words like if=
    if compset -P '[io]f='; then _files; else compadd -S '' -- "$@"; fi
}

@NAME() {
    local curcontext="$curcontext" state line ret=1
    local -A opt_args
    local -a verbs=(
@VERBS
    )
    _arguments -C \
@STANDARD
        '1:command:->verb' '*:: :->rest' && ret=0
    case $state in
        verb) _describe -t commands command verbs && ret=0 ;;
        rest)
            case $words[1] in
@CASES
            esac
            ;;
    esac
    return ret
}

if [[ $funcstack[1] == @NAME ]]; then @NAME "$@"; else compdef @NAME @COMMAND; fi
"""


def render(known: Known, command: str) -> str:
    """The script for a command of this name; any but instar has qemu-img's verbs only."""
    own = command == "instar"
    verbs = sorted(known.verbs + (known.own if own else ()))
    every = known.every if own else ()
    name = "_" + command.replace("-", "_")
    parts = {
        "@LISTS": "\n".join(_list(kind, format, found) for (kind, format), found in sorted(known.lists.items())),
        "@VERBS": "\n".join("        " + quote(f"{verb.name}:{verb.text}") for verb in verbs),
        "@STANDARD": "\n".join(f"        {spec} \\" for spec in _specs(name, known.standard + every, ())),
        "@CASES": "\n".join(_case(name, verb, every) for verb in verbs),
        "@NAME": name,
        "@COMMAND": command,
    }
    text = FRAME
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _case(name: str, verb: Command, every: Iterable[Choice]) -> str:
    specs = _specs(name, (*verb.options, *every), verb.formats)
    if verb.name == "dd":
        specs.append(quote(f"*:operand: {name}_operands {' '.join(verb.operands)}"))
    elif verb.operands:
        specs.append(quote(f"1:action:({' '.join(verb.operands)})"))
    else:
        specs.append(quote("*:file:_files"))
    lines = " \\\n".join(f"                        {spec}" for spec in specs)
    return f"                {verb.name})\n                    _arguments \\\n{lines} && ret=0\n                    ;;"


def _specs(name: str, options: Iterable[Choice], formats: tuple[str, ...]) -> list[str]:
    specs = []
    for each in options:
        alone = "*" if each.again else f"({' '.join(each.spellings)})"
        for word in each.spellings:
            sign = "" if each.value is None else "=" if word.startswith("--") else "+"
            specs.append(quote(f"{alone}{word}{sign}[{_escaped(each.text)}]{_action(name, each, formats)}"))
    return specs


def _action(name: str, option: Choice, formats: tuple[str, ...]) -> str:
    if option.value is None:
        return ""
    if option.value.file:
        return ":file:_files"
    if option.value.list_of:
        return f":options: {name}_list {option.value.list_of} {' '.join(formats)}"
    return f":value:({' '.join(option.value.words)})" if option.value.words else ":value: "


def _list(kind: str, format: str, settings: Iterable[Setting]) -> str:
    specs = [
        quote(f"{each.name}[{_escaped(each.text)}]:value:" + (f"({' '.join(each.words)})" if each.words else " "))
        for each in settings
    ]
    lines = " \\\n".join(f"                {spec}" for spec in specs)
    offer = f"_values -s , {quote(f'option of {format}')} \\\n{lines}"
    return f"        {quote(f'{kind} {format}')})\n            {offer}\n            ;;"


def _escaped(text: str) -> str:
    out = text.replace("\\", "\\\\")
    for letter in "[]:":
        out = out.replace(letter, "\\" + letter)
    return out
