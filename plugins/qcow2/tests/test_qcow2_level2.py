"""L2 tables in runs: every way of walking them tells the same."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from instar_qcow2 import layout
from instar_qcow2.level2 import entry_runs, flagged, rows, stretches, unflagged

CLUSTER = 1 << 16
SEED = 7


def header(width):
    return SimpleNamespace(l2_entry_size=width, cluster_size=CLUSTER, cluster_bits=16)


def table(chance, width, count=512):
    """Entries of all kinds, in stretches and alone; the second word of a wide entry is a bitmap of subclusters."""
    made, place = [], CLUSTER
    while len(made) < count:
        kind = chance.randrange(6)
        length = min(chance.choice((1, 2, 16, 64)), count - len(made))
        if kind == 0:
            made += [0] * length
        elif kind == 1:
            made += [1] * length
        elif kind == 2:
            made += [layout.COMPRESSED | chance.randrange(1 << 40) for _ in range(length)]
        elif kind == 3:
            made += [layout.COPIED | place] * length
        else:
            flags = chance.choice((0, layout.COPIED, layout.COPIED | 1))
            made += [flags | place + CLUSTER * at for at in range(length)]
            place += CLUSTER * (length + chance.randrange(2))
    words = [entry.to_bytes(8, "big") for entry in made]
    return b"".join(word + chance.randbytes(width - 8) for word in words), made


@pytest.mark.parametrize("width", [8, 16])
def test_stretches_tell_every_entry_but_those_that_are_0(width):
    chance = random.Random(SEED)
    for _ in range(50):
        data, entries = table(chance, width)
        told = {}
        for index, count, entry in stretches(header(width), data):
            told.update({index + at: entry + CLUSTER * at for at in range(count)})
        assert told == {index: entry for index, entry in enumerate(entries) if entry}


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("flags", [0, layout.COPIED])
def test_a_table_that_is_one_run_is_one_stretch(width, flags):
    words = [flags | CLUSTER * (at + 1) for at in range(8192)]
    data = b"".join(word.to_bytes(8, "big") + bytes(width - 8) for word in words)
    assert list(stretches(header(width), data)) == [(0, 8192, flags | CLUSTER)]
    assert list(entry_runs(header(width), data)) == [(0, 8192, flags | CLUSTER, CLUSTER)]
    assert not list(stretches(header(width), bytes(len(data))))


@pytest.mark.parametrize("width", [8, 16])
def test_rows_tell_every_cluster_once_for_each_entry_in_order(width):
    chance = random.Random(SEED)
    for _ in range(50):
        data, entries = table(chance, width)
        told = [entry + CLUSTER * at for count, entry in rows(header(width), data) for at in range(count)]
        assert told == [entry for entry in entries if entry]


@pytest.mark.parametrize("width", [8, 16])
def test_clusters_in_a_row_in_the_file_are_one_row_whatever_lies_between_them_in_the_table(width):
    words = [CLUSTER * (at // 3 + 1) if at % 3 == 0 else 0 for at in range(900)]
    data = b"".join(word.to_bytes(8, "big") + bytes(width - 8) for word in words)
    assert list(rows(header(width), data)) == [(300, CLUSTER)]


def test_a_row_ends_with_the_numbers_that_an_entry_can_be():
    most = (1 << 64) - CLUSTER
    words = [most - CLUSTER, most, 0, most, CLUSTER]
    alone = layout.COMPRESSED
    told = list(rows(header(8), b"".join((word & ~alone).to_bytes(8, "big") for word in words)))
    assert told == [(2, words[0] & ~alone), (1, most & ~alone), (1, CLUSTER)]


class Shared:
    """Every cluster has this refcount."""

    def __init__(self, refcount):
        self.refcount = refcount

    def __getitem__(self, cluster):
        return self.refcount

    def ones(self, first, count):
        return int(self.refcount == 1)


@pytest.mark.parametrize("width", [8, 16])
def test_where_everything_is_shared_no_flag_is_left(width):
    chance = random.Random(SEED)
    for _ in range(20):
        data, _ = table(chance, width)
        assert unflagged(header(width), data) == flagged(header(width), data, Shared(2))
        assert unflagged(header(width), unflagged(header(width), data)) == unflagged(header(width), data)
    plain = bytes(512 * width)
    assert unflagged(header(width), plain) is plain
