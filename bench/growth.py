"""How a figure grows with another: the slope of the line through its points on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LINEAR = 1.1
"""A slope up to which growth counts as linear: measured points never lie on a line."""
ROOM = 0.1
"""How much steeper than qemu-img's a slope may be before it counts as worse."""
LAST = 4
"""Points that a slope is taken of: where little is done, starting a program hides the growth."""


class Point(NamedTuple):
    """What both took for one work at one value: seconds, and bytes of memory; or what went wrong."""

    series: str
    work: str
    value: int
    ours: float = 0.0
    theirs: float = 0.0
    our_peak: int = 0
    their_peak: int = 0
    load: tuple[float, float] = (0.0, 0.0)
    trouble: str = ""


class Growth(NamedTuple):
    """The slopes of time and memory of one work: 0 is constant, 1 linear."""

    series: str
    work: str
    ours: float
    theirs: float
    our_memory: float
    their_memory: float

    @property
    def verdicts(self) -> list[str]:
        """What is worse than it may be."""
        found = []
        for name, ours, theirs in (("time", self.ours, self.theirs), ("memory", self.our_memory, self.their_memory)):
            if ours > LINEAR:
                found.append(f"{name} grows faster than linearly")
            if ours > max(theirs, 0) + ROOM:
                found.append(f"{name} grows faster than qemu-img's")
        return found


def growths(points: Sequence[Point]) -> list[Growth]:
    """The growth of each work of which at least two points were measured."""
    found = []
    for series, work in dict.fromkeys((point.series, point.work) for point in points):
        mine = [each for each in points if (each.series, each.work) == (series, work) and not each.trouble]
        mine = sorted(mine, key=lambda point: point.value)[-LAST:]
        if len(mine) < 2:
            continue
        values = [point.value for point in mine]
        columns = ("ours", "theirs", "our_peak", "their_peak")
        slopes = [slope(values, [getattr(point, name) for point in mine]) for name in columns]
        found.append(Growth(series, work, *slopes))
    return found


def slope(values: Sequence[float], figures: Sequence[float]) -> float:
    """The exponent of the power that fits best; nan where a figure is missing."""
    if any(figure <= 0 for figure in figures):
        return math.nan
    across, up = [math.log(value) for value in values], [math.log(figure) for figure in figures]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    spread = sum((at - middle) ** 2 for at in across)
    return sum((at - middle) * (to - height) for at, to in zip(across, up, strict=True)) / spread
