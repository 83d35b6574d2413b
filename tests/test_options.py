"""Options as users type them become values, by the tables of the formats."""

from __future__ import annotations

import pytest

from instar_core import options
from instar_core.errors import UsageError
from instar_core.types import Option

KNOWN = (
    Option("cluster_size", "size", "", "65536"),
    Option("lazy_refcounts", "bool", ""),
    Option("refcount_bits", "int", "", "16"),
    Option("compat", "str", "", "1.1"),
)


@pytest.mark.parametrize("text,value", [("1.5G", 3 << 29), ("0x10", 16), ("15E", 15 << 60)])
def test_a_size_is_read_as_qemu_reads_it(text: str, value: int) -> None:
    assert options.parse_value(KNOWN[0], text) == value


@pytest.mark.parametrize("text,value", [("010", 8), ("0x10", 16), ("-1", (1 << 64) - 1)])
def test_a_number_is_read_as_c_reads_it(text: str, value: int) -> None:
    assert options.parse_value(KNOWN[2], text) == value


def test_given_options_count_before_defaults_and_the_rest_is_none() -> None:
    assert options.parse(KNOWN, {"cluster_size": "4k", "lazy_refcounts": "yes"}) == {
        "cluster_size": 4096,
        "lazy_refcounts": True,
        "refcount_bits": 16,
        "compat": "1.1",
    }
    assert options.parse(KNOWN, {})["lazy_refcounts"] is None


@pytest.mark.parametrize(
    "given,message",
    [
        ({"foo": "1"}, "Invalid parameter 'foo'"),
        ({"lazy_refcounts": "1"}, "Parameter 'lazy_refcounts' expects 'on' or 'off'"),
        ({"cluster_size": "x"}, "Parameter 'cluster_size' expects a non-negative number below 2^64"),
        ({"cluster_size": "16E"}, "Value '16E' is out of range for parameter 'cluster_size'"),
        ({"refcount_bits": "2" * 20}, f"Value '{'2' * 20}' is too large for parameter 'refcount_bits'"),
        ({"refcount_bits": "x"}, "Parameter 'refcount_bits' expects a number"),
    ],
)
def test_wrong_options_are_refused_in_qemus_words(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.parse(KNOWN, given)
    assert caught.value.message == message
