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


@pytest.mark.parametrize(
    "text,value",
    [
        ("0", 0), ("512", 512), ("1k", 1024), ("1K", 1024), ("1.5G", 3 << 29), ("0x10", 16), ("3b", 3), ("1T", 1 << 40),
        ("1E", 1 << 60), ("2M", 2 << 20), (".5k", 512), ("1.5", None), ("1e3", None), ("1Z", None), ("", None),
        ("-1", None), ("abc", None), ("16E", None), ("15E", 15 << 60), ("0x", None), ("1kk", None), ("1.5b", None),
    ],
)  # fmt: skip
def test_sizes_are_read_as_qemu_reads_them(text: str, value: int | None) -> None:
    assert options.parse_size(text) == value


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
        ({"refcount_bits": "x"}, "Parameter 'refcount_bits' expects a number"),
    ],
)
def test_wrong_options_are_refused_in_qemus_words(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.parse(KNOWN, given)
    assert caught.value.message == message
