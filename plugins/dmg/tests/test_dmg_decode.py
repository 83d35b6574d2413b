"""Decoding chunks: bounded, and a FormatError for what does not decode."""

from __future__ import annotations

import random
import struct
import sys

import pytest
from instar_dmg import adc, hooks, lzfse

from instar_core.errors import FormatError, NotInstalled

KINDS = ("adc", "bzip2", "lzma", "lzfse")


def decode(kind, stored, unit):
    return hooks.instar_decode({"kind": kind, "unit": unit}, stored)


@pytest.fixture(params=KINDS)
def kind(request, kinds):
    if request.param not in kinds:
        pytest.skip(f"the package {request.param} is not installed")
    return request.param


def test_what_was_encoded_is_decoded(kind, builder, filling):
    for seed in range(5):
        for sectors in (1, 7, 512):
            data = filling(seed, sectors)
            assert decode(kind, builder.ENCODERS[kind](data), len(data)) == data


def test_a_chunk_never_makes_more_than_its_unit(kind, builder):
    stored = builder.ENCODERS[kind](bytes(1 << 20))
    try:
        assert len(decode(kind, stored, 4096)) <= 4096
    except FormatError as error:
        assert "longer than 4096 bytes" in error.message


def test_damaged_chunks_are_errors_or_other_content(kind, builder, filling):
    stored = bytearray(builder.ENCODERS[kind](filling(3, 64)))
    choose = random.Random(3)
    failed = 0
    for _ in range(300):
        place = choose.randrange(len(stored))
        was = stored[place]
        stored[place] ^= 1 << choose.randrange(8)
        try:
            assert len(decode(kind, bytes(stored), 32768)) <= 32768
        except FormatError:
            failed += 1
        stored[place] = was
    assert failed


def test_cut_chunks_are_errors_or_shorter(kind, builder, filling):
    stored = builder.ENCODERS[kind](filling(3, 64))
    for size in range(0, len(stored), 97):
        try:
            assert len(decode(kind, stored[:size], 32768)) <= 32768
        except FormatError:
            continue


def test_an_unknown_kind_is_refused():
    with pytest.raises(FormatError, match="unknown coding"):
        decode("other", b"", 512)


@pytest.mark.parametrize(
    "stored, content",
    [
        (b"\x80a", b"a"),
        (b"\x82abc", b"abc"),
        (b"\x80a\x04\x00", b"a" * 5),
        (b"\x81ab\x00\x01", b"ababa"),
        (b"\x80a\x40\x00\x00", b"a" * 5),
        (b"\x81ab\x7f\x00\x01", b"ab" * 33 + b"a" * 3),
        (b"", b""),
    ],
)
def test_codes_of_adc_mean_what_they_should(stored, content):
    if stored == b"\x81ab\x7f\x00\x01":
        content = (b"ab" * 40)[: 2 + 67]
    assert adc.decode(stored, 1000) == content


@pytest.mark.parametrize("stored", (b"\x82a", b"\x80a\x00", b"\x80a\x40\x00", b"\x00\x00", b"\x80a\x00\x01"))
def test_codes_of_adc_that_make_no_sense_are_refused(stored):
    with pytest.raises(FormatError, match="ADC data"):
        adc.decode(stored, 1000)


@pytest.mark.parametrize(
    "stored",
    (
        b"",
        b"bvx-",
        b"bvx1" + bytes(100),
        b"bvx2" + struct.pack("<I", 0xFFFFFFFF) + bytes(100),
        b"bvx-" + struct.pack("<I", 1 << 30) + bytes(100),
        b"bvxn" + struct.pack("<II", 100, 0),
    ),
)
def test_blocks_of_lzfse_that_make_no_sense_are_refused_before_the_library_sees_them(stored):
    with pytest.raises(FormatError, match="LZFSE data"):
        lzfse.decoded_length(stored, 4096)


def test_blocks_of_lzfse_add_up(builder, kinds, filling):
    if "lzfse" not in kinds:
        pytest.skip("the package lzfse is not installed")
    for sectors in (1, 8, 300, 3000):
        data = filling(sectors, sectors)
        assert lzfse.decoded_length(builder.lzfse(data), 1 << 30) == len(data)


@pytest.mark.parametrize("kind, module", [("bzip2", "bz2"), ("lzma", "lzma"), ("lzfse", "lzfse")])
def test_a_missing_library_is_named(kind, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalled, match=module):
        decode(kind, b"", 512)
