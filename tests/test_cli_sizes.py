"""Sizes are read and written as qemu-img does."""

from __future__ import annotations

import math
import random

import pytest

from instar_core.cli.sizes import human_size
from instar_core.sizes import OutOfRange, parse_number, parse_size

K, M, G = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("00010", 10),
        ("1b", 1),
        ("1k", K),
        ("1K", K),
        ("1.5G", 3 * G // 2),
        (".5k", 512),
        ("1.k", K),
        ("1.0", 1),
        ("1.9999999999999k", 2047),
        ("0.0001k", 0),
        ("0x400", K),
        ("0X10", 16),
        ("7E", 7 << 60),
        ("15.9E", (159 << 60) // 10),
        (" \t5k", 5 * K),
        ("+1", 1),
        ("18446744073709551615", (1 << 64) - 1),
    ],
)
def test_a_size_is_read(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        ".",
        "1.5",
        ".5",
        "1.5b",
        "1e3",
        "1Z",
        "1kk",
        "1KiB",
        "0x",
        "0x4k",
        "0x1.8k",
        "1 ",
        "1_000",
        "¹",
        "-1k",
        "- 1",
        "nan",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert not isinstance(caught.value, OutOfRange)


@pytest.mark.parametrize("text", ["-1", "-0", "16E", "18446744073709551616", "0x10000000000000000"])
def test_sizes_beyond_64_bits_are_out_of_range(text: str) -> None:
    with pytest.raises(OutOfRange):
        parse_size(text)


@pytest.mark.parametrize(("text", "value"), [("16", 16), ("0x10", 16), ("010", 8), ("0", 0), ("-1", (1 << 64) - 1)])
def test_a_number_is_read_as_c_reads_it(text: str, value: int) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "abc", "16k", "1_0", "08", "1.5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_number(text)


@pytest.mark.parametrize(
    ("size", "text", "plain"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1000, "0.977 KiB", "1000 B"),
        (1024, "1 KiB", "1 KiB"),
        (197120, "192 KiB", "192.5 KiB"),
        (198144, "194 KiB", "193.5 KiB"),
        (130560, "128 KiB", "127.5 KiB"),
        (1023488, "1e+03 KiB", "999.5 KiB"),
        (1024000, "0.977 MiB", "1000 KiB"),
        (1500160, "1.43 MiB", "1.4 MiB"),
        (126998 * M, "124 GiB", "124.0 GiB"),
        ((1 << 63) - 512, "8 EiB", "8.0 EiB"),
    ],
)
def test_a_size_is_written_for_people(size: int, text: str, plain: str) -> None:
    assert human_size(size) == text
    if ".0 " not in plain:
        assert human_size(size, plain=True) == plain


def test_human_sizes_are_those_of_printf_and_frexp() -> None:
    chance = random.Random(7)
    for _ in range(20000):
        size = chance.getrandbits(chance.randint(1, 63)) or 1
        unit = max(0, (math.frexp(size / (1000 / 1024))[1] - 1) // 10 * 10)
        assert human_size(size).split()[0] == f"{size / (1 << unit):.3g}", size
