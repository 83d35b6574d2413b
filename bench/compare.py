"""One case carried out: first without a clock, to see that all programs give the same, then measured."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench import programs as found_programs
from bench.calls import CALLS, Call
from bench.case import FILE, OUT, Case
from bench.images import Images
from bench.measure import Command, Failed, Run, Turns, in_turns
from bench.places import Unavailable
from bench.verify import Different, First, verify

SHORT = 4
"""How many times as often a short command is run."""
LEAST = 1e-6
"""Seconds: what is left of a run is no less."""


class Result(NamedTuple):
    """What came out for a case: `trouble` or why it was `skipped`, in words, or the two sides and the figures by name.

    Times in seconds. `ratio` is that of the medians, `pairs` the median of the ratios of each pair of runs, `best` the
    ratio of the shortest runs, which says most where other work disturbs; below 1 instar did better. `cpu` is the ratio
    of processor times, `size` that of what the outputs take on the disk, 0 where there is none. `peaks` are the most
    bytes of memory that ours and theirs had; not `exact`, they had no more.
    `jail` is the ratio to the same with workers in jailed processes, in pairs, where the `sandbox` of this one is
    another.
    """

    case: str
    trouble: str = ""
    ours: float = 0.0
    theirs: float = 0.0
    ratio: float = 0.0
    pairs: float = 0.0
    best: float = 0.0
    cpu: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    exact: bool = True
    sandbox: str = ""
    jail: float = 0.0
    aim: float = 0.0
    size: float = 0.0
    peaks: tuple[int, int] = (0, 0)
    skipped: str = ""
    runs: dict[str, list[Any]] = {}  # noqa: RUF012  never changed


def carry_out(
    case: Case, images: Images, count: int, sandboxes: Sequence[str], patience: float = math.inf
) -> list[Result]:
    """The results of a case, one for each sandbox that it is to run in.

    They are what the first run took where the `count` of others is 0, or where the first of all programs took more
    than so many seconds together. What goes wrong with it is told in a result.
    """
    places = sandboxes if case.parses else sandboxes[:1]
    try:
        there = images.at(case.place)
        theirs, *ours = commands(case, case.words, there, places)
        load = os.getloadavg()[0]
        firsts = verify(case, theirs, ours, there)
        if count and sum(first.run.wall for first in firsts) < patience:
            turns = measured(case, theirs, ours, there, count * (SHORT if case.short else 1))
        else:
            turns = Turns([firsts[0].run], [[first.run] for first in firsts[1:]], (load, os.getloadavg()[0]))
    except Unavailable as error:
        return [Result(case.name, skipped=str(error))]
    except (Failed, Different) as error:
        return [Result(case.name, f"{type(error).__name__.lower()}: {error}")]
    results = [
        result._replace(sandbox=place if case.parses else "", aim=case.aim)
        for result, place in zip(amounting(case, turns, firsts), places, strict=True)
    ]
    if not case.parses or places[0] != "process":
        return results
    jailed = results[0].runs["ours"]
    return [results[0], *[result._replace(jail=paired(result.runs["ours"], jailed)) for result in results[1:]]]


def commands(case: Case, words: tuple[str, ...], images: Images, places: Sequence[str]) -> list[Command | Call]:
    """Their command and ours (or our call) for each sandbox, with names in place of the words that stand for files.

    Raises Unavailable, Failed.
    """

    def named(words: Sequence[str], folder: str) -> list[str]:
        made = os.path.join(folder, f"out.{case.made}")
        files = {f"@{name}": os.path.join(folder, name) for name in case.changes} | {OUT: made}
        return [FILE.sub(lambda hit: files.get(hit[0]) or images.path(hit[0][1:]), word) for word in words]

    def started(words: tuple[str, ...], qemu_img: str, folder: str) -> list[str]:
        name, *rest = words
        if name == "openstack":
            return [*found_programs.openstack(images.programs), qemu_img, *named(rest, folder)]
        alone = {"qemu-img": qemu_img, "qemu-io": images.programs.qemu_io}
        alone |= {"instar": images.programs.instar, "python": images.programs.python}
        return [alone[name], *named(rest, folder)]

    copies = tuple(images.path(name) for name in case.changes)
    given = images.path(case.given) if case.given else os.devnull
    them = os.path.join(images.folder, "theirs")
    their_words = started(case.theirs or ("qemu-img", *words), images.programs.qemu_img, them)
    found: list[Command | Call] = [Command(their_words, them, copies=copies, given=given)]
    for place in places:
        us = os.path.join(images.folder, f"ours-{place}")
        if case.call:
            (image,) = named([word for word in words if word[:1] == "@"], us)
            found.append(Call(CALLS[case.call], image, us, place, copies=copies))
            continue
        own = started(case.ours or ("qemu-img", *words), images.programs.drop_in, us)
        found.append(Command(own, us, settings=(("INSTAR_SANDBOX", place),), copies=copies))
    return found


def measured(case: Case, theirs: Command | Call, ours: Sequence[Command | Call], images: Images, count: int) -> Turns:
    """`count` runs of each in turns, without what the same takes with hardly any content. Raises Failed."""
    if not case.apart:
        return in_turns(theirs, ours, count)
    places = [os.path.basename(command.folder).removeprefix("ours-") for command in ours]
    their_tiny, *our_tiny = commands(case, case.apart, images, places)
    turns = in_turns(theirs, [*ours, their_tiny, *our_tiny], count)
    kept, tiny = turns.ours[: len(ours)], turns.ours[len(ours) :]
    every = [left(runs, less) for runs, less in zip([turns.theirs, *kept], tiny, strict=True)]
    return Turns(every[0], every[1:], turns.load)


def left(runs: list[Run], less: list[Run]) -> list[Run]:
    """The runs without the medians of others."""
    wall, cpu = median(less, "wall"), median(less, "cpu")
    return [Run(max(run.wall - wall, LEAST), max(run.cpu - cpu, LEAST)) for run in runs]


def median(runs: Sequence[Run], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in runs))


def paired(runs: Sequence[Run], others: Sequence[Run]) -> float:
    """The median of the ratios of each run to that of the others in the same turn."""
    return float(statistics.median(run.wall / other.wall for run, other in zip(runs, others, strict=True)))


def amounting(case: Case, turns: Turns, firsts: Sequence[First]) -> list[Result]:
    """The results that the runs amount to, one for each of our commands."""
    results = []
    theirs, first_theirs = median(turns.theirs, "wall"), firsts[0]
    for runs, first in zip(turns.ours, firsts[1:], strict=True):
        ours = median(runs, "wall")
        results.append(
            Result(
                case.name,
                "",
                ours,
                theirs,
                ours / theirs,
                paired(runs, turns.theirs),
                min(run.wall for run in runs) / min(run.wall for run in turns.theirs),
                median(runs, "cpu") / max(median(turns.theirs, "cpu"), LEAST),  # 0 where it is not known
                turns.load,
                first.exact and first_theirs.exact,
                size=first.made / first_theirs.made if first_theirs.made else 0.0,
                peaks=(first.peak, first_theirs.peak),
                runs={"ours": list(runs), "theirs": list(turns.theirs)},
            )
        )
    return results
