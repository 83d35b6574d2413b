"""Command lines are read as GNU getopt_long reads them."""

from __future__ import annotations

import pytest

from instar_core.cli.fault import Fault, HelpWanted
from instar_core.cli.getopt import IN_ORDER, STOP, Opt, Scanner, Verb, parse

TABLE = (
    Opt("format", "f", "format", "FMT"),
    Opt("share", "U", "force-share"),
    Opt("output", "", "output", "HOW"),
    Opt("rate", "r", "rate-limit", "RATE"),
    Opt("quiet", "q", "quiet"),
    Opt("source", "s", "source-format", "FMT"),
    Opt("sopts", "", "source-image-opts"),
)
VERB = Verb("try", ("FILE",), "Try it", TABLE)
EXTRA = (Opt("policy", "", "image-policy", "P"), Opt("formal", "", "formal"))


def read(*words: str) -> tuple[dict[str, object], list[str]]:
    parsed = parse(VERB, words, EXTRA)
    return parsed.values, parsed.operands


@pytest.mark.parametrize(
    ("words", "values", "operands"),
    [
        (["a", "-f", "raw", "b"], {"format": "raw"}, ["a", "b"]),
        (["-fraw", "a"], {"format": "raw"}, ["a"]),
        (["-Uqfraw", "a"], {"share": True, "quiet": True, "format": "raw"}, ["a"]),
        (["--out", "json", "a"], {"output": "json"}, ["a"]),
        (["--output=json", "a"], {"output": "json"}, ["a"]),
        (["--output=", "a"], {"output": ""}, ["a"]),
        (["--output", "--", "--", "-U"], {"output": "--"}, ["-U"]),
        (["-", "--", "--output"], {}, ["-", "--output"]),
        (["-f", "raw", "-f", "vmdk"], {"format": "vmdk"}, []),
        (["-f", "-U", "a"], {"format": "-U"}, ["a"]),
        (["--image", "strict", "a"], {"policy": "strict"}, ["a"]),
        (["--rate", "1"], {"rate": "1"}, []),
    ],
)
def test_words_become_values_and_operands(words: list[str], values: dict[str, object], operands: list[str]) -> None:
    assert read(*words) == (values, operands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unrecognized option '--foo'"),
        (["--foo=1"], "unrecognized option '--foo'"),
        (["-Z"], "invalid option -- 'Z'"),
        (["-UZ"], "invalid option -- 'Z'"),
        (["-f"], "option requires an argument -- 'f'"),
        (["--output"], "option '--output' requires an argument"),
        (["--quiet=1"], "option '--quiet' doesn't allow an argument"),
        (["--fo"], "option '--fo' is ambiguous; possibilities: '--format' '--force-share'"),
        (["--so"], "option '--so' is ambiguous; possibilities: '--source-format' '--source-image-opts'"),
        (["-1M"], "invalid option -- '1'"),
    ],
)
def test_mistakes_are_told_in_getopts_words(words: list[str], message: str) -> None:
    with pytest.raises(Fault) as caught:
        read(*words)
    assert caught.value.lines == (message,)
    assert caught.value.scope
    assert caught.value.usage


def test_an_abbreviation_means_an_extra_option_only_where_the_verb_has_none_that_fits() -> None:
    assert read("--form", "raw")[0] == {"format": "raw"}
    assert read("--forma", "raw")[0] == {"format": "raw"}
    assert read("--formal")[0] == {"formal": True}


def test_help_counts_where_it_stands() -> None:
    with pytest.raises(HelpWanted):
        read("-h", "--foo")
    with pytest.raises(Fault):
        read("--foo", "-h")


def test_parsing_stops_at_the_first_operand_in_that_mode() -> None:
    scanner = Scanner(["-U", "info", "-f", "raw"], TABLE, STOP)
    assert [option and option.key for option, _ in scanner] == ["share"]
    assert scanner.words[scanner.at :] == ["info", "-f", "raw"]


def test_operands_are_told_in_their_place() -> None:
    scanner = Scanner(["a", "-U", "b", "--", "-U"], TABLE, IN_ORDER)
    assert [option.key if option else text for option, text in scanner] == ["a", "share", "b", "-U"]


def test_spellings_of_one_option_are_not_ambiguous() -> None:
    table = (Opt("backing", "b", "backing", "F"), Opt("backing", "b", "backing-file", "F"))
    assert [(option.key, text) for option, text in Scanner(["--back=x"], table) if option] == [("backing", "x")]
