"""Plots of how time and memory grow, as SVG. They need matplotlib, which the extra `bench` brings."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib  # type: ignore[import-not-found,unused-ignore]
from matplotlib import pyplot, ticker  # type: ignore[import-not-found,unused-ignore]
from matplotlib.axes import Axes  # type: ignore[import-not-found,unused-ignore]

from bench.growth import Point
from bench.images import MIB
from bench.series import Series

GREY = "#808080"
"""Can be read on white and on black: the background is transparent."""
SIDES = (("instar", "ours", "our_peak", "#d9482b", "o"), ("qemu-img", "theirs", "their_peak", "#2b83d9", "s"))
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "instar",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw(series: Series, points: Sequence[Point], folder: str) -> str:
    """The path of the plot that is written: a column for each work, time above memory. A dotted line shows what grows
    linearly. Raises OSError."""
    works = [work.name for work in series.works if any(point.work == work.name for point in points)]
    with matplotlib.rc_context(STYLE):
        figure, rows = pyplot.subplots(
            2,
            len(works),
            figsize=(2 * len(works) + 1, 5),
            sharex="col",
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for column, work in enumerate(works):
            mine = sorted((each for each in points if each.work == work), key=lambda point: point.value)
            values = [point.value for point in mine]
            for name, seconds, peak, colour, mark in SIDES:
                look: dict[str, Any] = {
                    "color": colour,
                    "marker": mark,
                    "markersize": 4,
                    "linewidth": 1.4,
                    "label": name,
                }
                rows[0][column].plot(values, [getattr(point, seconds) for point in mine], **look)
                rows[1][column].plot(values, [getattr(point, peak) / MIB for point in mine], **look)
            rows[0][column].set_title(work)
            _linear(rows[0][column], values, [max(point.ours, point.theirs) for point in mine])
            for axes in (rows[0][column], rows[1][column]):
                _axes(axes)
            if "bytes" in series.counts:
                rows[1][column].xaxis.set_major_locator(ticker.FixedLocator(values[::3]))
                rows[1][column].xaxis.set_major_formatter(lambda value, _: _amount(value))
            elif series.name == "chains":
                rows[1][column].xaxis.set_major_locator(ticker.FixedLocator(values[::2]))
                rows[1][column].xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        _decades(rows[0][0], [each for point in points for each in (point.ours, point.theirs)], "s")
        _decades(rows[1][0], [each / MIB for point in points for each in (point.our_peak, point.their_peak)], "MiB")
        rows[0][0].set_ylabel("time")
        rows[1][0].set_ylabel("memory")
        rows[0][0].legend(frameon=False, fontsize=8)
        figure.supxlabel(series.counts, fontsize=9)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{series.name}.svg")
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return path


def _axes(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.grid(visible=True, color=GREY, alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _decades(axes: Axes, figures: Sequence[float], unit: str) -> None:
    """The axis has room for all figures, between whole powers of ten."""
    seen = [math.log10(each) for each in figures if each > 0]
    axes.set_ylim(10 ** math.floor(min(seen)), 10 ** math.ceil(max(seen)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} {unit}")


def _linear(axes: Axes, values: Sequence[int], figures: Sequence[float]) -> None:
    """The line through the last point that linear growth would take, as far as there is room for it."""
    if not values or not figures[-1]:
        return
    floor = min(figures) / 2
    line = [(value, figures[-1] * value / values[-1]) for value in values]
    line = [(value, height) for value, height in line if height >= floor]
    axes.plot([value for value, _ in line], [height for _, height in line], color=GREY, linestyle=":", linewidth=1)


def _amount(value: float) -> str:
    number = 0
    while value >= 1024 and number < len(UNITS) - 1:
        value, number = value / 1024, number + 1
    return f"{value:.0f} {UNITS[number]}"
