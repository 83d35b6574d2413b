"""One case carried out: first without a clock, to see that all programs give the same, then measured."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.calls import CALLS, Call
from bench.cases import OUT, Case
from bench.images import Images
from bench.measure import Command, Failed, Run, Turns, in_turns
from bench.memory import Peak
from bench.programs import Programs

SHORT = 4
"""How many times as often a short command is run."""


class Different(Exception):
    """The two programs gave different results."""


class Result(NamedTuple):
    """What came out for a case: `trouble` in words, or the two sides and the figures by name.

    Times in seconds, memory in bytes. `ratio` is that of the medians, `pairs` the median of the ratios of each pair of
    runs; below 1 instar did better. `jail` is the ratio to the same command with workers in jailed processes, where the
    `sandbox` of this one is another.
    """

    case: str
    unit: str
    trouble: str = ""
    ours: float = 0.0
    theirs: float = 0.0
    ratio: float = 0.0
    pairs: float = 0.0
    cpu: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    exact: bool = True
    sandbox: str = ""
    jail: float = 0.0
    runs: dict[str, list[Any]] = {}  # noqa: RUF012  never changed


def carry_out(case: Case, images: Images, programs: Programs, count: int, sandboxes: Sequence[str]) -> list[Result]:
    """The results of a case, one for each sandbox that it is to run in. What goes wrong with it is told in a result."""
    unit = "bytes" if case.memory else "seconds"
    places = sandboxes if case.parses else sandboxes[:1]
    try:
        theirs, *ours = commands(case, images, programs, places)
        verify(case, theirs, ours, programs)
        if case.memory:
            them, *us = [each for each in (theirs, *ours) if isinstance(each, Command)]
            results = weighed(case, them, us)
        else:
            results = timed(case, in_turns(theirs, ours, count * (SHORT if case.short else 1)))
    except (Failed, Different) as error:
        return [Result(case.name, unit, f"{type(error).__name__.lower()}: {error}")]
    if not case.parses:
        return results
    named = [result._replace(sandbox=place) for result, place in zip(results, places, strict=True)]
    if places[0] != "process":
        return named
    return [named[0], *[result._replace(jail=result.ours / named[0].ours) for result in named[1:]]]


def commands(case: Case, images: Images, programs: Programs, places: Sequence[str]) -> list[Command | Call]:
    """Their command and ours (or our call) for each sandbox, with names in place of the words that stand for files."""

    def named(words: tuple[str, ...], folder: str) -> list[str]:
        made = os.path.join(folder, f"out.{case.made}")
        files = {f"@{name}": os.path.join(folder, name) for name in case.changes} | {OUT: made}
        return [files.get(word) or (images.path(word[1:]) if word[:1] == "@" else word) for word in words]

    copies = tuple(images.path(name) for name in case.changes)
    them = os.path.join(images.folder, "theirs")
    found: list[Command | Call] = [Command([programs.qemu_img, *named(case.words, them)], them, copies=copies)]
    for place in places:
        us = os.path.join(images.folder, f"ours-{place}")
        if case.call:
            (image,) = named(tuple(word for word in case.words if word[:1] == "@"), us)
            found.append(Call(CALLS[case.call], image, us, place, copies=copies))
            continue
        if case.ours:
            own = [programs.python if case.ours[0] == "python" else programs.instar, *named(case.ours[1:], us)]
        else:
            own = [programs.drop_in, *named(case.words, us)]
        found.append(Command(own, us, settings=(("INSTAR_SANDBOX", place),), copies=copies))
    return found


def verify(case: Case, theirs: Command | Call, ours: Sequence[Command | Call], programs: Programs) -> None:
    """All commands work and say or make the same; this is also what warms the caches. Raises Failed, Different."""
    every = [theirs, *ours]
    said = [f"{command.folder}.stdout" for command in every]
    for command, output in zip(every, said, strict=True):
        command._replace(output=output).run()
    for command, output in zip(ours, said[1:], strict=True):
        if case.made:
            words = [programs.qemu_img, "compare", "-f", case.made, "-F", case.made]
            outputs = [os.path.join(each.folder, f"out.{case.made}") for each in (command, theirs)]
            judged = subprocess.run([*words, *outputs], capture_output=True, text=True, check=False)
            if judged.returncode:
                raise Different((judged.stdout + judged.stderr).strip())
        for name in case.changes:
            changed(programs, os.path.join(command.folder, name), os.path.join(theirs.folder, name))
        if case.answers:
            with open(said[0], "rb") as one, open(output, "rb") as other:
                if one.read() != other.read():
                    raise Different("the two programs print different answers")


def changed(programs: Programs, ours: str, theirs: str) -> None:
    """Both images are sound and read the same, to the end. Raises Different."""
    for words in (("check", "-f", "qcow2", ours), ("compare", "-s", "-f", "qcow2", "-F", "qcow2", ours, theirs)):
        judged = subprocess.run([programs.qemu_img, *words], capture_output=True, text=True, check=False)
        if judged.returncode and "block status" not in judged.stdout:
            raise Different((judged.stdout + judged.stderr).strip())


def timed(case: Case, turns: Turns) -> list[Result]:
    """The results that the runs amount to, one for each of our commands."""

    def median(runs: list[Run], field: str) -> float:
        return float(statistics.median(getattr(run, field) for run in runs))

    results = []
    theirs = median(turns.theirs, "wall")
    for runs in turns.ours:
        ours = median(runs, "wall")
        results.append(
            Result(
                case.name,
                "seconds",
                "",
                ours,
                theirs,
                ours / theirs,
                statistics.median(one.wall / other.wall for one, other in zip(runs, turns.theirs, strict=True)),
                median(runs, "cpu") / max(median(turns.theirs, "cpu"), 1e-6),  # 0 where it is not known
                turns.load,
                runs={"ours": [list(run) for run in runs], "theirs": [list(run) for run in turns.theirs]},
            )
        )
    return results


def weighed(case: Case, theirs: Command, ours: Sequence[Command]) -> list[Result]:
    """The peaks of memory of one run each."""
    results = []
    load = os.getloadavg()[0]
    them = Peak()
    theirs.run(them)
    for command in ours:
        us = Peak()
        command.run(us)
        ratio = us.bytes / max(them.bytes, 1)
        loads = (load, os.getloadavg()[0])
        exact = us.exact and them.exact
        results.append(Result(case.name, "bytes", "", us.bytes, them.bytes, ratio, ratio, 0.0, loads, exact))
    return results
