"""The parts of the benchmark: its cases, its comparison with earlier runs, how it judges growth."""

from __future__ import annotations

import importlib
import math
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="bench/ is not part of this source distribution")


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmark by its name."""
    monkeypatch.syspath_prepend(ROOT)

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"bench.{name}")

    return load


def test_no_two_cases_have_the_same_name_and_every_image_can_be_made(part: Any) -> None:
    cases, recipes = part("cases").CASES, part("images").RECIPES
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    for case in cases:
        assert case.images <= recipes.keys(), case.name
    for series in part("series").SERIES:
        for work in series.works:
            assert work.images <= series.recipes(series.values[0]).keys(), (series.name, work.name)
        assert series.most.keys() <= {work.name for work in series.works}


@pytest.mark.parametrize(
    ("then", "ours", "theirs", "worse"),
    [
        (0.5, 0.6, 1.0, False),  # by a fifth
        (0.5, 0.7, 1.0, True),
        (0.5, 0.4, 1.0, False),
        (2.0, 0.004, 0.0015, False),  # by a third, but by one millisecond
        (2.0, 0.024, 0.009, True),
    ],
)
def test_a_ratio_is_worse_by_a_quarter_and_two_milliseconds(
    part: Any, then: float, ours: float, theirs: float, worse: bool
) -> None:
    stored, result = part("stored"), part("compare").Result
    old = stored.Stored("full", {"a": [result("a", ratio=then, sandbox="process")]})
    now = result("a", ours=ours, theirs=theirs, ratio=ours / theirs, sandbox="process")
    assert stored.change(now, old).worse is worse
    assert stored.change(now._replace(sandbox="kvm"), old) is None
    assert stored.change(now._replace(case="b"), old) is None


def test_what_was_stored_is_read_again(part: Any, tmp_path: Path) -> None:
    stored, result = part("stored"), part("compare").Result
    path = str(tmp_path / "told.json")
    results = [result("a", ratio=0.5, peaks=(1, 2), load=(0.1, 0.2)), result("a", sandbox="kvm", trouble="failed")]
    stored.write(path, {"kind": "quick", "facts": {}}, results)
    assert stored.read(path) == stored.Stored("quick", {"a": results})
    Path(path).write_text('{"results": [{"name": "of another program"}]}')
    with pytest.raises(ValueError, match="holds no figures"):
        stored.read(path)


def test_the_slope_is_the_exponent(part: Any) -> None:
    slope = part("growth").slope
    values = [1, 10, 100, 1000]
    assert slope(values, [3 * value**2 for value in values]) == pytest.approx(2)
    assert slope(values, [5, 5, 5, 5]) == pytest.approx(0)
    assert math.isnan(slope(values, [1, 1, 1, 0]))


def test_growth_is_judged_by_the_last_points_and_beside_qemu_imgs(part: Any) -> None:
    growth = part("growth")

    def judged(ours: Any, theirs: Any) -> list[str]:
        values = [10**power for power in range(7)]
        points = [growth.Point("s", "w", value, ours(value), theirs(value), 1, 1) for value in values]
        (found,) = growth.growths(points)
        return list(found.verdicts)

    assert judged(lambda value: 0.1 + value, lambda value: value) == []
    assert judged(lambda _: 1.0, lambda _: 0.5) == []
    assert judged(lambda value: value, lambda _: 1.0) == ["time grows faster than qemu-img's"]
    assert judged(lambda value: value**1.5, lambda value: value**1.5) == ["time grows faster than linearly"]


def test_a_scattered_image_has_the_same_clusters_in_another_order(part: Any, tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    head = bytearray(1 << 9)
    struct.pack_into(">4sI", head, 0, b"QFI\xfb", 3)
    struct.pack_into(">I", head, 20, 9)
    struct.pack_into(">IQ", head, 36, 2, 1 << 9)
    tables = [(1 << 63) + 1024, (1 << 63) + 1536]
    entries = [[(1 << 63) + (100 + number) * 512 for number in range(64)], [(1 << 63) + 512 * 200] * 3 + [0] * 61]
    blocks = [head, struct.pack(">2Q", *tables).ljust(512, b"\0"), *(struct.pack(">64Q", *each) for each in entries)]
    path.write_bytes(b"".join(blocks))
    part("scatter").scatter(str(path))
    content = path.read_bytes()
    found = [list(struct.unpack_from(">64Q", content, at)) for at in (1024, 1536)]
    assert content[:1024] == b"".join(blocks[:2])
    assert found[0] != entries[0] and sorted(found[0]) == entries[0]
    assert found[1] == entries[1]


def test_lines_of_the_table_stand_below_each_other(part: Any) -> None:
    table, result = part("table"), part("compare").Result
    lines = table.Lines(["short", "a-longer-name"])
    head, rule = lines.head()
    line = lines.line(result("short", ours=0.5, theirs=1.0, ratio=0.5, pairs=0.5, load=(1.0, 1.2), sandbox="process"))
    assert head.index("ratio") + len("ratio") == line.index("0.50") + len("0.50")
    assert len(rule) == len(head) >= len(line)
    assert lines.line(result("short", skipped="not here")).endswith("skipped: not here")
