"""One case carried out: first without a clock, to see that both programs give the same, then measured."""

from __future__ import annotations

import os
import statistics
import subprocess
from typing import Any, NamedTuple

from bench.cases import OUT, Case
from bench.images import Images
from bench.measure import Command, Failed, Pairs, Run, in_turns
from bench.memory import Peak
from bench.programs import Programs

SHORT = 4
"""How many times as often a short command is run."""


class Different(Exception):
    """The two programs gave different results."""


class Result(NamedTuple):
    """What came out for a case: `trouble` in words, or the two sides and the figures by name.

    Times in seconds, memory in bytes. `ratio` is that of the medians, `pairs` the median of the ratios of each pair of
    runs; below 1 instar did better.
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
    runs: dict[str, list[Any]] = {}  # noqa: RUF012  never changed


def carry_out(case: Case, images: Images, programs: Programs, count: int) -> Result:
    """The result of a case. What goes wrong with it is told in the result."""
    unit = "bytes" if case.memory else "seconds"
    try:
        ours, theirs = commands(case, images, programs)
        verify(case, ours, theirs, programs)
        if case.memory:
            return weighed(case, ours, theirs)
        return timed(case, in_turns(ours, theirs, count * (SHORT if case.short else 1)))
    except (Failed, Different) as error:
        return Result(case.name, unit, f"{type(error).__name__.lower()}: {error}")


def commands(case: Case, images: Images, programs: Programs) -> tuple[Command, Command]:
    """Our command and theirs, with names in place of the words that stand for files."""

    def named(words: tuple[str, ...], folder: str) -> list[str]:
        made = os.path.join(folder, f"out.{case.made}")
        return [made if word == OUT else images.path(word[1:]) if word[:1] == "@" else word for word in words]

    us, them = os.path.join(images.folder, "ours"), os.path.join(images.folder, "theirs")
    if case.ours:
        own = [programs.python if case.ours[0] == "python" else programs.instar, *named(case.ours[1:], us)]
    else:
        own = [programs.drop_in, *named(case.words, us)]
    return Command(own, us), Command([programs.qemu_img, *named(case.words, them)], them)


def verify(case: Case, ours: Command, theirs: Command, programs: Programs) -> None:
    """Both commands work and say or make the same; this is also what warms the caches. Raises Failed, Different."""
    said = [f"{command.folder}.stdout" for command in (ours, theirs)]
    for command, output in zip((ours, theirs), said, strict=True):
        command._replace(output=output).run()
    if case.made:
        words = [programs.qemu_img, "compare", "-f", case.made, "-F", case.made]
        outputs = [os.path.join(command.folder, f"out.{case.made}") for command in (ours, theirs)]
        judged = subprocess.run([*words, *outputs], capture_output=True, text=True, check=False)
        if judged.returncode:
            raise Different((judged.stdout + judged.stderr).strip())
    if case.answers:
        with open(said[0], "rb") as one, open(said[1], "rb") as other:
            if one.read() != other.read():
                raise Different("the two programs print different answers")


def timed(case: Case, pairs: Pairs) -> Result:
    """The result that the runs amount to."""

    def median(runs: list[Run], field: str) -> float:
        return float(statistics.median(getattr(run, field) for run in runs))

    ours, theirs = median(pairs.ours, "wall"), median(pairs.theirs, "wall")
    return Result(
        case.name,
        "seconds",
        "",
        ours,
        theirs,
        ours / theirs,
        statistics.median(one.wall / other.wall for one, other in zip(pairs.ours, pairs.theirs, strict=True)),
        median(pairs.ours, "cpu") / max(median(pairs.theirs, "cpu"), 1e-6),
        pairs.load,
        runs={"ours": [list(run) for run in pairs.ours], "theirs": [list(run) for run in pairs.theirs]},
    )


def weighed(case: Case, ours: Command, theirs: Command) -> Result:
    """The peaks of memory of one run each."""
    load = os.getloadavg()[0]
    ourselves, them = Peak(), Peak()
    theirs.run(them)
    ours.run(ourselves)
    ratio = ourselves.bytes / max(them.bytes, 1)
    loads = (load, os.getloadavg()[0])
    exact = ourselves.exact and them.exact
    return Result(case.name, "bytes", "", ourselves.bytes, them.bytes, ratio, ratio, 0.0, loads, exact)
