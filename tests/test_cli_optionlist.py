"""Option lists are split and judged as qemu does."""

from __future__ import annotations

import pytest

from instar_core.cli import creating, optionlist
from instar_core.cli.fault import Fault
from instar_core.options import SIZE_HINT
from instar_core.types import Capability, FormatSpec, Option

OPTIONS = (
    Option("cluster_size", "size", "qcow2 cluster size", "64k"),
    Option("lazy_refcounts", "bool", "Postpone refcount updates", "off"),
    Option("refcount_bits", "int", "Width of a reference count entry in bits", "16"),
    Option("compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"),
    Option("backing_file", "str", "File name of a base image"),
)
HINT = SIZE_HINT.split("\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cluster_size=4k", {"cluster_size": "4k"}),
        ("cluster_size=4k,cluster_size=64k", {"cluster_size": "64k"}),
        ("lazy_refcounts", {"lazy_refcounts": "on"}),
        ("nolazy_refcounts", {"lazy_refcounts": "off"}),
        ("lazy_refcounts=yes,compat=v3", {"lazy_refcounts": "yes", "compat": "v3"}),
        ("backing_file=a,,b", {"backing_file": "a,b"}),
        ("backing_file=a,,,,b,compat=v2", {"backing_file": "a,,b", "compat": "v2"}),
        ("backing_file=a,,,compat=v2", {"backing_file": "a,", "compat": "v2"}),
        ("refcount_bits=0x10", {"refcount_bits": "0x10"}),
        ("cluster_size=1.5k", {"cluster_size": "1.5k"}),
        (None, {}),
    ],
)
def test_a_list_gives_its_values_as_they_stand(text: str | None, found: dict[str, str]) -> None:
    assert optionlist.checked(text, OPTIONS) == found


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("foo=bar", ("Invalid parameter 'foo'",)),
        ("nofoo", ("Invalid parameter 'foo'",)),
        ("=b", ("Invalid parameter ''",)),
        ("lazy_refcounts=1", ("Parameter 'lazy_refcounts' expects 'on' or 'off'",)),
        ("lazy_refcounts=True", ("Parameter 'lazy_refcounts' expects 'on' or 'off'",)),
        ("cluster_size=abc", ("Parameter 'cluster_size' expects a non-negative number below 2^64", *HINT)),
        ("cluster_size", ("Parameter 'cluster_size' expects a non-negative number below 2^64", *HINT)),
        ("cluster_size=64k,,foo", ("Parameter 'cluster_size' expects a non-negative number below 2^64", *HINT)),
        ("cluster_size=-1", ("Value '-1' is out of range for parameter 'cluster_size'",)),
        ("refcount_bits=abc", ("Parameter 'refcount_bits' expects a number",)),
        (
            "refcount_bits=99999999999999999999",
            ("Value '99999999999999999999' is too large for parameter 'refcount_bits'",),
        ),
        ("lazy_refcounts=1,foo=1", ("Parameter 'lazy_refcounts' expects 'on' or 'off'",)),
    ],
)
def test_the_first_wrong_item_is_told_in_qemus_words(text: str, lines: tuple[str, ...]) -> None:
    with pytest.raises(Fault) as caught:
        optionlist.checked(text, OPTIONS)
    assert caught.value.lines == lines


@pytest.mark.parametrize("text", ["", ",", ",a=b", "a=b,", "a=b,,,"])
def test_lists_with_stray_commas_are_no_lists(text: str) -> None:
    with pytest.raises(Fault, match="Invalid option list"):
        optionlist.gather(text, None)


def test_repeated_lists_are_joined() -> None:
    assert optionlist.gather("b=2", optionlist.gather("a=1,,", None)) == "a=1,,,b=2"
    assert optionlist.pairs("a=1,,,b=2") == [("a", "1,"), ("b", "2")]


@pytest.mark.parametrize(
    ("text", "wanted"), [("help", True), ("a=b,?", True), ("help,,", True), ("a=?", False), (None, False)]
)
def test_help_may_stand_anywhere(text: str | None, wanted: bool) -> None:
    assert optionlist.wants_help(text) is wanted


def test_option_help_lists_types_and_meanings_sorted() -> None:
    spec = FormatSpec("toy", "toy", options=OPTIONS, capabilities=frozenset({Capability.BACKING}))
    text = creating.option_help(spec, None)
    assert text.splitlines() == [
        "Supported toy options:",
        "  backing_file=<str>     - File name of a base image",
        "  backing_fmt=<str>      - Image format of the base image",
        "  cluster_size=<size>    - qcow2 cluster size",
        "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])",
        "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates",
        "  refcount_bits=<num>    - Width of a reference count entry in bits",
        "  size=<size>            - Virtual disk size",
        "",
        "The protocol level may support further options.",
        "Specify the target filename to include those options.",
    ]
    named = creating.option_help(spec, "x").splitlines()
    assert named[0] == "Supported options:"
    assert "  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)" in named
    assert named[-1] == "  size=<size>            - Virtual disk size"
