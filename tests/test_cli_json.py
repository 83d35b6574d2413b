"""JSON comes out in qemu's order, layout and escapes."""

from __future__ import annotations

import json
import random

import pytest

from instar_core.cli.jsontext import line, pretty
from instar_core.cli.qdict import ordered

ORDERS = """
limits children backing-filename-format snapshots virtual-size filename cluster-size format actual-size format-specific
  full-backing-filename encrypted backing-filename dirty-flag
image-end-offset compressed-clusters total-clusters corruptions corruptions-fixed check-errors leaks leaks-fixed
  allocated-clusters filename format fragmented-clusters
bitmaps required fully-allocated
icount vm-clock-nsec name date-sec date-nsec vm-clock-sec id vm-state-size
compat compression-type lazy-refcounts bitmaps refcount-bits data-file encrypt data-file-raw corrupt extended-l2
ivgen-alg detached-header hash-alg cipher-alg uuid ivgen-hash-alg format cipher-mode slots
  payload-offset master-key-iters
active iters key-offset stripes
cid parent-cid create-type extents
compressed virtual-size filename cluster-size format
write-zeroes-alignment request-alignment opt-transfer min-mem-alignment max-transfer max-hw-transfer discard-alignment
  opt-mem-alignment max-iov max-write-zeroes max-hw-iov max-discard
flags name granularity
"""


@pytest.mark.parametrize(
    "order", [text.split() for text in ORDERS.replace("\n  ", " ").strip().split("\n")], ids="-".join
)
def test_keys_come_in_the_order_recorded_from_qemu(order: list[str]) -> None:
    keys = [key for key in order if key not in ("children", "backing-filename-format")]
    for seed in range(5):
        random.Random(seed).shuffle(keys)
        got = [key for key, _ in ordered(dict.fromkeys(keys))]
        assert got == [key for key in order if key in keys]


def test_of_two_keys_in_one_bucket_the_newer_comes_first() -> None:
    one, other = "children", "backing-filename-format"
    assert [key for key, _ in ordered({one: 1, other: 2})] == [other, one]
    assert [key for key, _ in ordered({other: 2, one: 1})] == [one, other]


def test_empty_lists_and_objects_take_two_lines() -> None:
    assert pretty({"children": [], "data": {}}) == '{\n    "children": [\n    ],\n    "data": {\n    }\n}'


def test_values_are_indented_by_four() -> None:
    assert pretty([{"name": True, "flags": [1, None]}]) == (
        '[\n    {\n        "flags": [\n            1,\n            null\n        ],\n        "name": true\n    }\n]'
    )


def test_strings_are_escaped_as_qemu_escapes_them() -> None:
    text = 'a\tb\n\x7f\x1b\x9bé"\\/\b😀' + b"\xff\xfe".decode("utf-8", "surrogateescape") + "z"
    # Recorded from qemu-img 11.1.3 with this as a snapshot's name.
    assert pretty(text) == '"a\\tb\\n\\u007F\\u001B\\u009B\\u00E9\\"\\\\/\\b\\uD83D\\uDE00\\uFFFD\\uFFFDz"'


def test_one_line_json_has_blanks_after_commas_and_colons() -> None:
    value = {"offset": 65536, "driver": "raw", "size": 65536, "file": {"driver": "file", "filename": "a.q"}}
    assert line(value) == (
        '{"offset": 65536, "driver": "raw", "size": 65536, "file": {"driver": "file", "filename": "a.q"}}'
    )


def test_other_programs_read_it() -> None:
    chance = random.Random(3)

    def made(depth: int) -> object:
        kind = chance.randrange(6 if depth else 4)
        if kind == 4:
            return [made(depth - 1) for _ in range(chance.randrange(4))]
        if kind == 5:
            return {text(): made(depth - 1) for _ in range(chance.randrange(4))}
        return (None, chance.random() < 0.5, chance.getrandbits(64), text())[kind]

    def text() -> str:
        return "".join(chr(chance.choice((9, 34, 65, 92, 127, 233, 8364, 128512))) for _ in range(chance.randrange(6)))

    for _ in range(300):
        value = made(3)
        assert json.loads(pretty(value)) == value
        assert json.loads(line(value)) == value
