"""The script for bash (4.0 or later). It needs nothing of bash-completion, which only finds and loads it."""

from __future__ import annotations

from shlex import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_core.cli.completion.words import Choice, Command, Known

FILE, LIST = "@file", "@list-"
"""What @NAME_value prints instead of words: names of files, options of a format."""

FRAME = r"""# bash completion for @COMMAND. Generated from the tables of the command line.

@NAME_verbs() { printf '%s\n' @VERBS; }

# What can follow the option $2 of the verb $1: words, or a mark. Fails where the option takes no value.
@NAME_value() {
    case "$1 $2" in
@VALUES
        *) return 1 ;;
    esac
}

@NAME_words() { # options of the verb $1
    case "$1" in
@OPTIONS
    esac
}

@NAME_operands() { # words besides names of files
    case "$1" in
@OPERANDS
    esac
}

@NAME_format_options() { # of the kind $1 and the format $2
    case "$1 $2" in
@LISTS
    esac
}

@NAME_format_words() { # values of the option $2 of the format $1
    case "$1 $2" in
@SETTINGS
    esac
}

@NAME_format_spellings() { # of the options that choose the format of the verb $1
    case "$1" in
@FORMATS
    esac
}

@NAME_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

@NAME_reply() { # words that begin with $1, each behind $2, without what the line holds before the last =
    local typed="$2$1" strip="" word
    [[ $COMP_WORDBREAKS == *=* && $typed == *=* ]] && strip="${typed%=*}="
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -n $word && $word == "$1"* ]] || continue
        word="$2$word"
        COMPREPLY+=("${word#"$strip"}")
        [[ $word == *= ]] && compopt -o nospace 2>/dev/null
    done
}

@NAME_list() { # an option list: kind $1, format $2, what is typed $3
    local last="${3##*,}" before=""
    [[ $3 == *,* ]] && before="${3%,*},"
    compopt -o nospace 2>/dev/null
    if [[ $last == *=* ]]; then
        @NAME_reply "${last#*=}" "$before${last%%=*}=" < <(@NAME_format_words "$2" "${last%%=*}")
    else
        @NAME_reply "$last" "$before" < <(@NAME_format_options "$1" "$2"; echo help)
    fi
}

@NAME() {
    local -a line=()
    local word glue="" verb="" skip="" current option typed format="raw" found index
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do # what = parted belongs together
        if [[ ${#line[@]} -gt 0 && ($word == "=" || -n $glue) ]]; then
            line[${#line[@]}-1]+="$word"
        else
            line+=("$word")
        fi
        glue=""
        [[ $word == "=" ]] && glue=1
    done
    current="${line[${#line[@]}-1]}"
    for word in "${line[@]:1:${#line[@]}-2}"; do
        if [[ -n $skip ]]; then skip=""; continue; fi
        case "$word" in
            -*) [[ $word != *=* ]] && @NAME_value "" "$word" >/dev/null && skip=1 ;;
            *) verb="$word"; break ;;
        esac
    done
    option="" typed="$current"
    if [[ $current == --*=* ]]; then
        option="${current%%=*}" typed="${current#*=}"
    elif ((${#line[@]} > 2)) && [[ ${line[${#line[@]}-2]} == -* ]]; then
        option="${line[${#line[@]}-2]}"
    fi
    COMPREPLY=()
    if [[ -n $option ]] && { found=$(@NAME_value "$verb" "$option") || found=$(@NAME_value "" "$option"); }; then
        case "$found" in
            @file) @NAME_files "$typed" ;;
            @list-*)
                for word in $(@NAME_format_spellings "$verb"); do
                    for ((index = 1; index < ${#line[@]} - 1; index++)); do
                        [[ ${line[index]} == "$word" ]] && format="${line[index+1]}"
                        [[ $word == --* && ${line[index]} == "$word="* ]] && format="${line[index]#*=}"
                        [[ $word != --* && ${line[index]} == "$word"?* ]] && format="${line[index]#"$word"}"
                    done
                done
                if [[ $current == --*=* ]]; then
                    @NAME_list "${found#@list-}" "$format" "$typed"
                    [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$option=}")
                else
                    @NAME_list "${found#@list-}" "$format" "$typed"
                fi
                ;;
            *)
                @NAME_reply "$typed" "" <<<"$found"
                [[ $current == --*=* && $COMP_WORDBREAKS != *=* ]] && COMPREPLY=("${COMPREPLY[@]/#/$option=}")
                ;;
        esac
    elif [[ $current == -* ]]; then
        @NAME_reply "$current" "" < <(@NAME_words "$verb")
    elif [[ -z $verb ]]; then
        @NAME_reply "$current" "" < <(@NAME_verbs)
    else
        found=$(@NAME_operands "$verb")
        if [[ -z $found ]]; then
            @NAME_files "$current"
        elif [[ $current == [io]f=* ]]; then
            @NAME_files "${current#*=}"
            [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/${current%%=*}=}")
        else
            @NAME_reply "$current" "" <<<"$found"
        fi
    fi
}

complete -F @NAME @COMMAND
"""


def render(known: Known, command: str) -> str:
    """The script for a command of this name; any but instar has qemu-img's verbs only."""
    own = command == "instar"
    verbs = known.verbs + (known.own if own else ())
    every = known.every if own else ()
    parts = {
        "VERBS": " ".join(sorted(verb.name for verb in verbs)),
        "VALUES": "\n".join(
            [
                *_values("", known.standard + every),
                *(line for verb in verbs for line in _values(verb.name, verb.options)),
            ]
        ),
        "OPTIONS": "\n".join(
            [
                _case("", _spelled(known.standard + every)),
                *(_case(verb.name, _spelled(verb.options + every)) for verb in verbs),
            ]
        ),
        "OPERANDS": "\n".join(_case(verb.name, verb.operands) for verb in verbs if verb.operands),
        "LISTS": "\n".join(
            _case(f"{kind} {name}", (f"{each.name}=" for each in found))
            for (kind, name), found in sorted(known.lists.items())
        ),
        "SETTINGS": "\n".join(_settings(known)),
        "FORMATS": "\n".join(_case(verb.name, verb.formats) for verb in verbs if _lists(verb)),
    }
    text = FRAME.replace("@NAME", "_" + command.replace("-", "_"))
    for name, part in parts.items():
        text = text.replace(f"@{name}\n", part + "\n") if name != "VERBS" else text.replace("@VERBS", part)
    return text.replace("@COMMAND", command)


def _lists(verb: Command) -> bool:
    return any(each.value is not None and each.value.list_of for each in verb.options)


def _spelled(options: Iterable[Choice]) -> list[str]:
    return sorted({word for each in options for word in each.spellings})


def _case(pattern: str, words: Iterable[str]) -> str:
    return f"        {quote(pattern)}) printf '%s\\n' {' '.join(map(quote, words))} ;;"


def _values(verb: str, options: Iterable[Choice]) -> list[str]:
    lines = []
    for each in options:
        if each.value is None:
            continue
        marks = [FILE] if each.value.file else [LIST + each.value.list_of] if each.value.list_of else each.value.words
        pattern = "|".join(quote(f"{verb} {word}") for word in each.spellings)
        lines.append(f"        {pattern}) printf '%s\\n' {' '.join(map(quote, marks))} ;;")
    return lines


def _settings(known: Known) -> list[str]:
    found = {(name, each.name): each.words for (_, name), settings in sorted(known.lists.items()) for each in settings}
    return [_case(f"{name} {option}", words) for (name, option), words in found.items() if words]
