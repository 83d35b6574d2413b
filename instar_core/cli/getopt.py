"""Command lines by the rules of GNU getopt_long, from tables that also make the help texts.

Options may follow operands, `--` ends them, long ones may be abbreviated as long as the beginning fits only one, and
their value may follow after `=`; short ones may be combined and their value attached. The messages are those of glibc.
"""

from __future__ import annotations

from instar_core.cli.fault import Fault, HelpWanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple


class Opt(NamedTuple):
    """An option of a verb.

    `key` is where its value is kept: True for a flag, what `read` makes of the text for one with a `value` name; with
    `add` read gets what was kept so far too. `help` is shown line by line. An option without help is an older spelling.
    """

    key: str
    letter: str = ""
    name: str = ""
    value: str = ""
    help: tuple[str, ...] = ()
    read: Callable[..., Any] | None = None
    add: bool = False
    own: bool = False
    """Whether qemu-img does not have it: an abbreviation means it last."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """How it may be written, the short one first."""
        return (*((f"-{self.letter}",) if self.letter else ()), *((f"--{self.name}",) if self.name else ()))


class Verb(NamedTuple):
    """A verb: how it is called, what it does in one line, its options and operands (name, help lines).

    With `negative` a word behind the first operand that looks like a negative number is an operand too.
    """

    name: str
    usage: tuple[str, ...]
    summary: str
    options: tuple[Opt, ...]
    operands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    negative: bool = False


class Parsed(NamedTuple):
    """What a command line says: option values by key, and the operands in their order.

    `behind` is how many of them, the last ones, stand behind `--`.
    """

    values: dict[str, Any]
    operands: list[str]
    behind: int = 0

    def get(self, key: str, default: Any = None) -> Any:
        """The value of an option, or the default where it was not given."""
        return self.values.get(key, default)


HELP = Opt("help", "h", "help", "", ("display this help and exit",))

PERMUTE, STOP, IN_ORDER = "", "+", "-"
"""What happens at an operand: options behind it count too; parsing ends there; it is told in its place."""


class Scanner:
    """Goes through words one option or operand at a time; `at` is the next word that was not looked at.

    `more` is a second table, asked only where the first has nothing that fits.
    """

    def __init__(
        self, words: Sequence[str], options: Sequence[Opt], mode: str = PERMUTE, more: Sequence[Opt] = ()
    ) -> None:
        self.words = words
        self.options = options
        self.more = more
        self.mode = mode
        self.at = 0
        self.behind = 0
        """Operands behind `--`."""

    def __iter__(self) -> Iterator[tuple[Opt | None, str]]:
        """(option, its value) or (None, operand), in the order in which they stand. Raises Fault as getopt would."""
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "--":
                break
            if word.startswith("--"):
                yield self._long(word[2:])
            elif word.startswith("-") and word != "-":
                yield from self._short(word[1:])
            elif self.mode == STOP:
                self.at -= 1
                break
            else:
                yield None, word
        if self.mode != STOP:
            while self.at < len(self.words):
                self.at += 1
                self.behind += 1
                yield None, self.words[self.at - 1]

    def number(self) -> list[str]:
        """The next word, taken, if it looks like a negative number."""
        word = self.words[self.at] if self.at < len(self.words) else ""
        if word[:1] != "-" or not "0" <= word[1:2] <= "9":
            return []
        self.at += 1
        return [word]

    def _next(self, otherwise: str) -> str:
        if self.at >= len(self.words):
            raise Fault(otherwise, scope=True, usage=True)
        self.at += 1
        return self.words[self.at - 1]

    def _long(self, text: str) -> tuple[Opt, str]:
        name, equals, value = text.partition("=")
        theirs = [option for option in self.options if not option.own]
        found = named(theirs, name) or named([*self.options, *self.more], name)
        if not found:
            raise Fault(f"unrecognized option '--{name}'", scope=True, usage=True)
        if len(found) > 1:
            offered = " ".join(f"'--{option.name}'" for option in found)
            raise Fault(f"option '--{text}' is ambiguous; possibilities: {offered}", scope=True, usage=True)
        option = found[0]
        if not option.value:
            if equals:
                raise Fault(f"option '--{option.name}' doesn't allow an argument", scope=True, usage=True)
            return option, ""
        return option, value if equals else self._next(f"option '--{option.name}' requires an argument")

    def _short(self, letters: str) -> Iterator[tuple[Opt, str]]:
        for index, letter in enumerate(letters):
            option = next((each for each in self.options if each.letter == letter), None)
            if option is None:
                raise Fault(f"invalid option -- '{letter}'", scope=True, usage=True)
            if option.value:
                attached = letters[index + 1 :]
                yield option, attached or self._next(f"option requires an argument -- '{letter}'")
                return
            yield option, ""


def named(options: Sequence[Opt], name: str) -> list[Opt]:
    """The options that a long name can mean: the one of that name, or those that it begins.

    Spellings of one and the same option are one.
    """
    fits = [option for option in options if option.name.startswith(name) and option.name]
    exact = [option for option in fits if option.name == name]
    if exact:
        return exact
    alike = {(option.key, option.letter, option.value != "", option.read) for option in fits}
    return fits[:1] if len(alike) == 1 else fits


def parse(verb: Verb, words: Sequence[str], more: Sequence[Opt] = ()) -> Parsed:
    """The command line of a verb, options read in their order, so that the first mistake is the one reported.

    Raises Fault, which has the values so far, or HelpWanted where -h comes before any mistake.
    """
    values: dict[str, Any] = {}
    try:
        return _parsed(verb, words, more, values)
    except Fault as fault:
        fault.before = values
        raise


def _parsed(verb: Verb, words: Sequence[str], more: Sequence[Opt], values: dict[str, Any]) -> Parsed:
    operands: list[str] = []
    scanner = Scanner(words, (HELP, *verb.options), PERMUTE, more)
    for option, text in scanner:
        if option is None:
            operands.append(text)
            if verb.negative and len(operands) == 1:
                operands += scanner.number()
        elif option.key == "help":
            raise HelpWanted
        else:
            keep(values, option, text)
    return Parsed(values, operands, scanner.behind)


def keep(values: dict[str, Any], option: Opt, text: str) -> None:
    """The option's value is among the values."""
    if option.read is None:
        values[option.key] = text if option.value else True
    elif option.add:
        values[option.key] = option.read(text, values.get(option.key))
    else:
        values[option.key] = option.read(text)
