"""L2 tables that are taken as a whole say the same as entry by entry, to maps and to checks alike."""

from __future__ import annotations

import random
from struct import pack

import pytest
from instar_qcow2 import hooks, layout, references
from instar_qcow2 import map as mapping

from instar_core.columns import Stream
from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Finding, Kind, Layer, Span, Tally

CLUSTER = 4096
ENTRIES = CLUSTER // 8
TABLES = 3
L1, TABLE, BLOCK, FIRST = 1, 2, 3, 4
CLUSTERS = FIRST + TABLES + 200
"""Clusters of the file: header, L1 table, refcount table and block, L2 tables, and then content."""

PLACE = [0, 0, 0, layout.ZERO, CLUSTER, CLUSTER | layout.ZERO, 2 * CLUSTER]
KINDS = {
    "places anywhere": lambda rng: rng.randrange(FIRST + TABLES, CLUSTERS) * CLUSTER | layout.COPIED,
    "places and nothing": lambda rng: rng.choice((0, rng.randrange(CLUSTERS) * CLUSTER | layout.COPIED)),
    "what has no place, beside the first clusters": lambda rng: rng.choice(PLACE),
    "zeros with and without a place": lambda rng: rng.choice(
        (0, layout.ZERO, layout.ZERO, rng.randrange(CLUSTERS) * CLUSTER | layout.ZERO, 9 * CLUSTER)
    ),
    "compressed": lambda rng: layout.COMPRESSED | rng.randrange(FIRST * CLUSTER, CLUSTERS * CLUSTER - 9000),
    "compressed and not": lambda rng: rng.choice(
        (
            0,
            layout.ZERO,
            rng.randrange(CLUSTERS) * CLUSTER | layout.COPIED,
            layout.COMPRESSED | rng.randrange(3) << 58 | rng.randrange(FIRST * CLUSTER, CLUSTERS * CLUSTER - 9000),
        )
    ),
    "shared": lambda rng: rng.choice((60, 61, 62)) * CLUSTER | rng.choice((0, layout.COPIED)),
}
FAULTS = {
    "reserved bits": lambda rng: rng.choice((1 << 56, 1 << 61, 2)) | 70 * CLUSTER,
    "not aligned": lambda rng: 70 * CLUSTER + rng.choice((512, 2048)),
    "past the end of the file": lambda rng: (CLUSTERS + rng.randrange(50)) * CLUSTER,
    "past everything": lambda rng: layout.OFFSET_MASK & ~(CLUSTER - 1),
    "copied without a place": lambda rng: layout.COPIED,
    "copied and compressed": lambda rng: layout.COPIED | layout.COMPRESSED | 70 * CLUSTER,
}


def stretched(rng: random.Random, make) -> list[int]:
    """Entries of which some continue the ones before them, for a table."""
    made: list[int] = []
    while len(made) < ENTRIES:
        entry = make(rng)
        count = rng.choice((1, 1, 1, 2, 3, 40, 300))
        step = 0
        if entry & layout.OFFSET_MASK and not entry & layout.COMPRESSED:
            step = CLUSTER
            count = min(count, CLUSTERS - (entry & layout.OFFSET_MASK) // CLUSTER)
        made += [entry + step * index for index in range(count)]
    return made[:ENTRIES]


def image(tables: list[list[int]], *, version: int = 3, refcount: int = 1, bits: int = 16) -> Image:
    """An image of these L2 tables, in which every cluster of the file has this refcount."""
    size = TABLES * ENTRIES * CLUSTER
    made = bytearray(CLUSTERS * CLUSTER)
    header = layout.HEADER_V2.pack(
        layout.MAGIC, version, 0, 0, 12, size, 0, TABLES, L1 * CLUSTER, TABLE * CLUSTER, 1, 0, 0
    )
    made[: len(header)] = header
    if version == 3:
        made[72:104] = layout.HEADER_V3.pack(0, 0, 0, bits.bit_length() - 1, 104)
    made[TABLE * CLUSTER : TABLE * CLUSTER + 8] = pack(">Q", BLOCK * CLUSTER)
    if bits == 16:
        made[BLOCK * CLUSTER : BLOCK * CLUSTER + 2 * CLUSTERS] = pack(">H", refcount) * CLUSTERS
    for number, table in enumerate(tables):
        at = (FIRST + number) * CLUSTER
        made[L1 * CLUSTER + 8 * number : L1 * CLUSTER + 8 * number + 8] = pack(">Q", at | layout.COPIED)
        made[at : at + CLUSTER] = pack(f">{ENTRIES}Q", *table)
    return Image([bytes_source(bytes(made))])


def mapped(opened: Image, span: Span) -> object:
    """The extents of a span, or the words in which they are refused."""
    try:
        return list(hooks.instar_map(opened, Layer(), span))
    except FormatError as error:
        return error.message, error.kind, error.offset


def checked(opened: Image) -> list[Finding | Tally]:
    return list(hooks.instar_check(opened))


CASES = [*KINDS, *FAULTS, "mixed"]


def some(rng: random.Random, case: str) -> list[list[int]]:
    """Tables of the case: a fault is one entry among sound ones."""
    if case == "mixed":
        return [stretched(rng, rng.choice(list(KINDS.values()))) for _ in range(TABLES)]
    if case in KINDS:
        return [stretched(rng, KINDS[case]) for _ in range(TABLES)]
    tables = [stretched(rng, KINDS["places and nothing"]) for _ in range(TABLES)]
    tables[1][rng.randrange(ENTRIES)] = FAULTS[case](rng)
    return tables


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", [2, 3])
def test_a_map_is_the_same_whether_tables_are_taken_at_once_or_entry_by_entry(
    case: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(6):
        rng = random.Random(f"{case} {seed}")
        opened = image(some(rng, case), version=version)
        size = TABLES * ENTRIES * CLUSTER
        spans = [Span(0, size)]
        for _ in range(4):
            start = rng.randrange(size)
            spans.append(Span(start, rng.randrange(1, size - start + 1)))
        at_once = [mapped(opened, span) for span in spans]
        with monkeypatch.context() as patched:
            patched.setattr(mapping, "fragments", lambda *_: None)
            assert at_once == [mapped(opened, span) for span in spans]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("refcount", "bits"), [(1, 16), (2, 16), (0, 16), (1, 1), (1, 2)])
def test_a_check_is_the_same_whether_tables_are_taken_at_once_or_entry_by_entry(
    case: str, refcount: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"{case} check")
    opened = image(some(rng, case), refcount=refcount, bits=bits)
    at_once = checked(opened)
    with monkeypatch.context() as patched:
        patched.setattr(references, "scattered", lambda *_: None)
        assert at_once == checked(opened)


def test_such_tables_are_really_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for module, name in ((mapping, "fragments"), (references, "scattered")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real: taken.append(real(*given)) or taken[-1])
    rng = random.Random(5)
    opened = image([stretched(rng, KINDS["places and nothing"]) for _ in range(TABLES)])
    mapped(opened, Span(0, TABLES * ENTRIES * CLUSTER))
    assert len(taken) == TABLES and None not in taken
    checked(opened)
    assert len(taken) == 2 * TABLES and None not in taken


def test_a_map_gives_columns_that_are_its_extents() -> None:
    opened = image(some(random.Random(8), "mixed"))
    span = Span(12345, TABLES * ENTRIES * CLUSTER - 23456)
    answer = hooks.instar_map(opened, Layer(), span)
    assert isinstance(answer, Stream)
    batches = list(answer.batches)
    extents = mapped(opened, span)
    assert [batch.number for batch in batches] == [len(extents)]
    assert batches[0].start == extents[0].start == span.start
    assert list(batches[0].kind) == [extent.kind for extent in extents]
    assert {Kind.DATA, Kind.ABSENT} <= set(batches[0].kind)
