"""Hostile bytes in the codings that a plugin decodes by a hook of its own give content or a FormatError."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from instar_core import registry
from instar_core.errors import FormatError
from instar_core.testing import Subject
from instar_core.testing.beside import beside
from instar_core.testing.budget import Budget, within
from instar_core.testing.subject import load_spec

SEED = 20261121
ORDINARY, LONG = 300, 20_000
UNIT = 64 << 10


load = beside(__file__)
mutation = load("mutation")
corpora = load("mutation_corpora")


def changed(stored, dice):
    """The stored bytes with a few of them flipped, overwritten, cut off, repeated or put in."""
    made = bytearray(stored)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(made) + 1)
        kind = dice.randrange(6)
        if kind == 0:
            del made[at:]
        elif kind == 1:
            made[at:at] = made[: dice.randrange(1, 64)]
        elif kind == 2:
            made[at : at + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", dice.randbytes(4)))
        elif kind == 3:
            made[at : at + dice.randrange(1, 40)] = dice.randbytes(dice.randrange(40))
        elif at < len(made):
            made[at] ^= 1 << dice.randrange(8)
    return bytes(made)


def shown(coding, count):
    if "dmg" not in registry.entries():
        pytest.skip("instar-dmg is not installed")
    make, subject = corpora.builder("dmg"), Subject(load_spec("dmg"))
    if coding == "lzfse":
        pytest.importorskip("lzfse", reason="lzfse is not installed")
    seed = int(os.environ.get("INSTAR_FUZZ_SEED", SEED))
    dice = random.Random(f"{seed}/{coding}")
    plain = [b"abcabcabd" * 900, dice.randbytes(3000), bytes(UNIT), bytes(500) + dice.randbytes(600) * 9]
    corpus = [make.ENCODERS[coding](data) for data in plain]
    params = {"kind": coding, "unit": UNIT}
    for stored, content in zip(corpus, plain, strict=True):
        assert subject.decode(params, stored) == content
    outcomes = Counter()
    for number in range(count):
        stored = changed(corpus[number % len(corpus)], dice)
        try:
            with within(Budget(seconds=5.0)):
                made = subject.decode(params, stored)
        except FormatError as error:
            outcomes[str(error.kind)] += 1
        else:
            assert isinstance(made, bytes) and len(made) <= UNIT, (seed, number)
            outcomes["decoded"] += 1
    print(f"\nINSTAR_FUZZ_SEED={seed}: {coding} {count} times: {dict(outcomes)}")


@pytest.mark.parametrize("coding", ["adc", "bzip2", "lzma", "lzfse"])
def test_decoders_answer_or_refuse_whatever_is_stored(coding):
    shown(coding, ORDINARY)


@pytest.mark.long
@pytest.mark.parametrize("coding", ["adc", "bzip2", "lzma", "lzfse"])
def test_decoders_answer_or_refuse_whatever_is_stored_at_length(coding):
    shown(coding, LONG)
