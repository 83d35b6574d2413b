"""The script for fish (3.0 or later)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_core.cli.completion.words import Choice, Command, Known

FRAME = r"""# fish completion for @COMMAND. Generated from the tables of the command line.

function @NAME_verb # the verb that stands in the line already
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word @TAKING
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
            return 0
        end
    end
    return 1
end

function @NAME_in
    test "$(@NAME_verb)" = $argv[1]
end

function @NAME_list # an option list: its kind, then the spellings of the options that choose the format
    set -l format raw
    set -l words (commandline -opc)
    for index in (seq (count $words))
        for spelling in $argv[2..-1]
            if test $words[$index] = $spelling; and test $index -lt (count $words)
                set format $words[(math $index + 1)]
            else if string match -q -- "$spelling*" $words[$index]; and not string match -q -- '--*' $spelling
                set format (string replace -- $spelling '' $words[$index])
            else if string match -q -- "$spelling=*" $words[$index]
                set format (string replace -- "$spelling=" '' $words[$index])
            end
        end
    end
    set -l typed (string replace -r -- '^(--[a-z-]+=|-o)' '' (commandline -ct))
    set -l before (string match -r -- '^.*,' $typed)
    set -l last (string replace -r -- '^.*,' '' $typed)
    switch "$argv[1] $format"
@LISTS
    end
end

function @NAME_words # of a list: NAME TEXT VALUES..., for what is typed last; uses the variables of the list
    set -l name (string split -- = $argv[2])[1]
    if test $name = $argv[3]
        for word in $argv[5..-1]
            printf '%s%s=%s\n' "$argv[1]" $name $word
        end
    else
        printf '%s%s=\t%s\n' "$argv[1]" $argv[3] $argv[4]
    end
end

complete -c @COMMAND -f
@LINES
"""


def render(known: Known, command: str) -> str:
    """The script for a command of this name; any but instar has qemu-img's verbs only."""
    own = command == "instar"
    verbs = sorted(known.verbs + (known.own if own else ()))
    every = known.every if own else ()
    name = "__" + command.replace("-", "_")
    taking = [word for each in known.standard + every if each.value is not None for word in each.spellings]
    lines = [
        line for each in known.standard + every for line in _options(name, command, f"not {name}_verb", (each,), ())
    ]
    lines += [
        f"complete -c {command} -n {_quoted(f'not {name}_verb')} -a {verb.name} -d {_quoted(verb.text)}"
        for verb in verbs
    ]
    for verb in verbs:
        where = f"{name}_in {verb.name}"
        lines += _options(name, command, where, (*verb.options, *every), verb.formats)
        lines += _operands(command, where, verb)
    parts = {
        "@LISTS": "\n".join(_lists(name, known)),
        "@TAKING": " ".join(taking),
        "@LINES": "\n".join(lines),
        "@NAME": name,
        "@COMMAND": command,
    }
    text = FRAME
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _options(name: str, command: str, where: str, options: Iterable[Choice], formats: tuple[str, ...]) -> list[str]:
    lines = []
    for each in options:
        line = f"complete -c {command} -n {_quoted(where)}"
        for word in each.spellings:
            line += f" -l {word[2:]}" if word.startswith("--") else f" -s {word[1:]}"
        if each.value is not None:
            if each.value.file:
                line += " -r -F"
            elif each.value.list_of:
                line += f" -x -a {_quoted(f'({name}_list {each.value.list_of} ' + ' '.join(formats) + ')')}"
            elif each.value.words:
                line += f" -x -a {_quoted(' '.join(each.value.words))}"
            else:
                line += " -x"
        lines.append(f"{line} -d {_quoted(each.text)}")
    return lines


def _operands(command: str, where: str, verb: Command) -> list[str]:
    start = f"complete -c {command} -n {_quoted(where)}"
    files = [f"{start} -F"] if verb.name == "dd" or not verb.operands else []
    return [*files, *([f"{start} -a {_quoted(' '.join(verb.operands))}"] if verb.operands else [])]


def _lists(name: str, known: Known) -> list[str]:
    lines = []
    for (kind, format), settings in sorted(known.lists.items()):
        lines.append(f"        case {_quoted(f'{kind} {format}')}")
        for each in settings:
            words = " ".join([each.name, _quoted(each.text), *map(_quoted, each.words)])
            lines.append(f'            {name}_words "$before" "$last" {words}')
    return lines


def _quoted(text: str) -> str:
    """The text as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
