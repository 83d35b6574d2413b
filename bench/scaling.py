"""python -m bench.scaling [--quick] [--only GLOB] [--json FILE]: how time and memory grow, for instar and qemu-img."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

from bench import growth, places, programs, table
from bench.case import Case
from bench.compare import carry_out
from bench.growth import Point
from bench.images import Images, Scale
from bench.series import SERIES, Series

RUNS = 5
PATIENCE = 60.0
"""Seconds: what takes both programs longer is measured once, in the run that compares the outputs."""
HEAD = ("series", "work", "value", "qemu-img", "instar", "ratio", "MiB", "MiB", "load")
WIDTHS = (8, 13, 15, 9, 9, 6, 6, 6, 9)
SLOPES = ("work", "qemu-img", "instar", "MiB: qemu-img", "MiB: instar")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the lower half of the values: a look")
    parser.add_argument(
        "--only",
        action="append",
        metavar="GLOB",
        help="works whose SERIES/NAME or SERIES/NAME/VALUE fits; may be repeated",
    )
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"runs of each program (default {RUNS})")
    parser.add_argument("--json", metavar="FILE", help="also write every figure there, after each point")
    parser.add_argument("--resume", action="store_true", help="keep what the file of --json holds and do the rest")
    parser.add_argument("--plots", metavar="DIR", help="draw SVG plots there; needs matplotlib")
    parser.add_argument("--draw", action="store_true", help="measure nothing: draw what the file of --json holds")
    parser.add_argument(
        "--folder", metavar="DIR", help="where images are made (default: the system's temporary folder)"
    )
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs expects a positive number")
    if (asked.resume or asked.draw) and not asked.json:
        parser.error("--resume and --draw need --json")
    return asked


def main() -> int:
    """0 if both programs agreed wherever they were measured."""
    asked = parse()
    places.leave_nothing()
    try:
        found = programs.find()
        kept = read(asked.json) if asked.draw or (asked.resume and os.path.exists(asked.json)) else []
    except (programs.Missing, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    points = [point for point in kept if not point.trouble]
    if not asked.draw:
        measure(asked, found, points)
    print("\nslopes on logarithmic axes of the last points: 0 is constant, 1 linear")
    grown_works = growth.growths(points)
    lines = table.aligned([SLOPES, *map(grown, grown_works)])
    remarks = ["", "", *("; ".join(each.verdicts) for each in grown_works)]
    print(*(f"{line}  {remark}".rstrip() for line, remark in zip(lines, remarks, strict=True)), sep="\n")
    if asked.plots:
        from bench import plots

        for series in SERIES:
            mine = [point for point in points if point.series == series.name and not point.trouble]
            if mine:
                print(plots.draw(series, mine, asked.plots))
    return 1 if any(point.trouble for point in points) else 0


def measure(asked: argparse.Namespace, found: programs.Programs, points: list[Point]) -> None:
    """All that was asked for and is not among the points is added to them, and to the file."""
    facts = programs.described(found)
    print(*(f"{name}: {text}" for name, text in facts.items()), sep="\n")
    print(f"runs: {asked.runs}\n\n{spread(HEAD)}", flush=True)
    begin = time.monotonic()
    done = {(point.series, point.work, point.value) for point in points}
    for series in SERIES:
        values = series.values[: (len(series.values) + 1) // 2] if asked.quick else series.values
        for value in values:
            works = [
                work
                for work in series.works
                if (series.name, work.name, value) not in done
                and value <= series.most.get(work.name, value)
                and wanted(f"{series.name}/{work.name}", value, asked.only)
            ]
            for point in measured(series, value, works, found, asked):
                points.append(point)
                print(spread(cells(point)), flush=True)
                if asked.json:
                    write(asked.json, facts, points)
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"\n{time.monotonic() - begin:.0f} s; load average now {load}; ratios below 1: instar did better")


def wanted(name: str, value: int, globs: Sequence[str] | None) -> bool:
    """Whether the work, or its point at this value, is among what was asked for."""
    return not globs or any(fnmatchcase(title, glob) for title in (name, f"{name}/{value}") for glob in globs)


def measured(
    series: Series, value: int, works: Sequence[Case], found: programs.Programs, asked: argparse.Namespace
) -> Iterator[Point]:
    """The points of some works at one value; its images are there only meanwhile."""
    if not works:
        return
    with tempfile.TemporaryDirectory(prefix="instar-bench.", dir=asked.folder) as folder, ExitStack() as after:
        os.chmod(folder, 0o755)
        images = Images(folder, found, Scale(), series.recipes(value))
        after.callback(images.leave)
        for work in works:
            (result,) = carry_out(work, images, asked.runs, ["process"], PATIENCE)
            ours, theirs = result.peaks
            yield Point(
                series.name, work.name, value, result.ours, result.theirs, ours, theirs, result.load, result.trouble
            )


def read(path: str) -> list[Point]:
    """The points that a file holds. Raises OSError, ValueError."""
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    try:
        return [Point(**{**each, "load": tuple(each["load"])}) for each in told["points"]]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no figures of bench.scaling") from error


def write(path: str, facts: dict[str, Any], points: Sequence[Point]) -> None:
    """The file holds these points, and at no time half of them. Raises OSError."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump({"facts": facts, "points": [point._asdict() for point in points]}, file, indent=1)
    os.replace(f"{path}.new", path)


def cells(point: Point) -> tuple[str, ...]:
    """A point as text."""
    if point.trouble:
        return point.series, point.work, str(point.value), point.trouble
    return (
        point.series,
        point.work,
        str(point.value),
        table.duration(point.theirs),
        table.duration(point.ours),
        f"{point.ours / point.theirs:.2f}",
        f"{point.their_peak / table.MIB:.1f}",
        f"{point.our_peak / table.MIB:.1f}",
        f"{point.load[0]:.1f}-{point.load[1]:.1f}",
    )


def spread(cells: Sequence[str]) -> str:
    """A line of the table."""
    texts = zip(cells, WIDTHS, strict=False)
    return "  ".join(text.ljust(width) if at < 2 else text.rjust(width) for at, (text, width) in enumerate(texts))


def grown(each: growth.Growth) -> tuple[str, ...]:
    """A growth as text."""
    slopes = (each.theirs, each.ours, each.their_memory, each.our_memory)
    return f"{each.series}/{each.work}", *(f"{slope:.2f}" for slope in slopes)


if __name__ == "__main__":
    sys.exit(main())
