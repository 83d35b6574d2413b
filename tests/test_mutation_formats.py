"""Hostile values in every field of an image of any format give an answer or a FormatError, wherever it is parsed.

INSTAR_FUZZ_SEED and INSTAR_FUZZ_CASES choose the changes and their number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random

import pytest

from instar_core import registry
from instar_core.errors import FormatError
from instar_core.testing import Subject, fuzz, specimen
from instar_core.testing.beside import beside
from instar_core.testing.places import guest_or_skip
from instar_core.testing.subject import load_spec
from instar_core.types import Barrier, Capability, Copy, Punch, Put, Repair, Reserve, Truncate, Zero

SEED = 20261121
ORDINARY, LONG = 600, 50_000
JAILED, LONG_JAILED = 10, 2000
SEALED = 0.75
"""The part of the changes whose checksums are made right again."""
TEXTS = 0.4
"""The part of the changes of an image that are of a text, where it has one."""
EDITS = (Barrier, Copy, Punch, Put, Reserve, Truncate, Zero)


load = beside(__file__)
mutation, seals, texts = load("mutation"), load("mutation_seals"), load("mutation_texts")
formats, corpora, places = load("mutation_formats"), load("mutation_corpora"), load("mutation_places")


class Thorough(Subject):
    """A format whose checks also plan repairs, and tell of key slots, where it has them."""

    __slots__ = ()

    def check(self, image):
        yield from super().check(image)
        for mode in ("leaks", "all") if self.can(Capability.REPAIR) else ():
            with contextlib.suppress(FormatError):
                for edit in itertools.islice(self.write(image, Repair(mode), iter(())), 20_000):
                    assert isinstance(edit, EDITS), f"a repair yields {edit!r}"
        if self.implements("instar_unlock"):
            with contextlib.suppress(FormatError):
                self.hook.instar_unlock(image=image)


class Base:
    """A format, its hooks, its images, their fields, sums and texts."""

    def __init__(self, folder, format):
        self.format = format
        self.subject = Thorough(load_spec(format))
        self.images = [specimen.opened(self.subject, *made) for made in corpora.CORPORA[format](folder)]
        if not self.images:
            pytest.skip(f"nothing here makes images of {format}")
        self.fields = [list(formats.FIELDS[format](image.media)) for image in self.images]
        find = seals.SEALS.get(format, lambda medium: ())
        self.seals = [list(find(image.media[0])) for image in self.images]

    def cases(self, count, seed):
        """So many changes, each image having as many as any other."""
        for number, (image, fields) in enumerate(zip(self.images, self.fields, strict=True)):
            share = count // len(self.images) + (number < count % len(self.images))
            dice = random.Random(f"{seed}/{image.name}")
            for made in mutation.mutations(image.media, fields, dice, share):
                text = texts.TEXTS[self.format](image.media, dice) if self.format in texts.TEXTS else None
                change = text if text and dice.random() < TEXTS else made
                if dice.random() < SEALED:
                    change = seals.sealed(image.media, self.seals[number], change)
                yield image, change


@pytest.fixture(scope="module", params=sorted(formats.FIELDS))
def base(request, tmp_path_factory):
    """A format with its images, made once."""
    if request.param not in registry.entries():
        pytest.skip(f"instar-{request.param} is not installed")
    return Base(tmp_path_factory.mktemp(request.param), request.param)


def number(variable, default):
    return int(os.environ.get(variable, default))


def seed_and(count):
    seed = number("INSTAR_FUZZ_SEED", SEED)
    print(f"\nINSTAR_FUZZ_SEED={seed} INSTAR_FUZZ_CASES={count}")
    return seed


def inline(base, count):
    seed = seed_and(count)
    done = fuzz.show(base.cases(count, seed), base.subject, seed)
    print(f"{base.format}: {done}", flush=True)
    assert not done.failures, str(done)
    assert done.runs == count


def shown(base, folder, place, count):
    seed = seed_and(count)
    told = places.show(base.cases(count, seed), base.format, folder, place)
    print(f"{base.format} in {place}: {told}", flush=True)
    assert not told.failures
    assert told.done == count
    assert told.slowest[0] < places.SECONDS


def test_sound_images_are_answered_in_full(base):
    """Else the changes would only ever show how refusals go."""
    plain = mutation.Mutation("no change")
    done = fuzz.show([(image, plain) for image in base.images], base.subject, SEED)
    assert not done.failures, str(done)
    assert done.answered["map"] == len(base.images)
    assert done.answered["check"] == len(base.images) * base.subject.implements("instar_check")
    found = {field.stratum for fields in base.fields for field in fields}
    print(f"\n{base.format}: {sum(map(len, base.fields))} fields: {', '.join(sorted(found))}")


def test_sums_of_sound_images_are_found_right(base):
    """A sum that is computed wrongly would let no change get past it."""
    for image, found in zip(base.images, base.seals, strict=True):
        for start, length, place, summed in found:
            data = image.media[0].pread(length, start)
            made = summed(data)
            assert data[place : place + len(made)] == made, (image.name, start)


def test_hooks_answer_or_refuse_whatever_a_field_says(base):
    inline(base, number("INSTAR_FUZZ_CASES", ORDINARY))


@pytest.mark.long
def test_hooks_answer_or_refuse_whatever_a_field_says_at_length(base):
    inline(base, number("INSTAR_FUZZ_CASES", LONG))


def test_jailed_sessions_answer_or_refuse_whatever_a_field_says(base, tmp_path):
    shown(base, tmp_path, "process", number("INSTAR_FUZZ_CASES", JAILED))


@pytest.mark.long
def test_jailed_sessions_answer_or_refuse_whatever_a_field_says_at_length(base, tmp_path):
    shown(base, tmp_path, "process", number("INSTAR_FUZZ_CASES", LONG_JAILED))


@pytest.mark.long
@pytest.mark.kvm
def test_guests_answer_or_refuse_whatever_a_field_says_at_length(base, tmp_path):
    guest_or_skip()
    shown(base, tmp_path, "kvm", number("INSTAR_FUZZ_CASES", LONG_JAILED))
