"""Runs in files, and the comparison of a run with an earlier one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from bench.compare import Result

WORSE = 1.25
"""How much a ratio has to grow before it is called worse."""
AT_LEAST = 0.002
"""Seconds that instar has to take longer than the old ratio says before it is called worse."""


class Stored(NamedTuple):
    """A run in a file: which sizes its images had, and the results by case."""

    kind: str = ""
    results: dict[str, list[Result]] = {}  # noqa: RUF012  never changed


def read(path: str) -> Stored:
    """What a file holds. Raises OSError, ValueError."""
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    found: dict[str, list[Result]] = {}
    try:
        for each in told["results"]:
            known = {name: value for name, value in each.items() if name in Result._fields}
            result = Result(**known)
            found.setdefault(result.case, []).append(
                result._replace(load=(result.load[0], result.load[1]), peaks=(result.peaks[0], result.peaks[1]))
            )
        return Stored(told.get("kind", ""), found)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} holds no figures of bench") from error


def write(path: str, facts: dict[str, Any], results: Iterable[Result]) -> None:
    """The file holds these results, and at no time half of them. Raises OSError."""
    told = {**facts, "results": [result._asdict() for result in results]}
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
    os.replace(f"{path}.new", path)


class Change(NamedTuple):
    """The ratios of a case then and now."""

    case: str
    sandbox: str
    then: float
    now: float
    worse: bool


def change(result: Result, old: Stored) -> Change | None:
    """What became of the ratio; None where there is none to compare with.

    Worse is what is so by a quarter and by more than two milliseconds.
    """
    same = [each for each in old.results.get(result.case, ()) if each.sandbox == result.sandbox and each.ratio]
    if not same or not result.ratio:
        return None
    then = same[0].ratio
    worse = result.ratio > WORSE * then and result.ours - then * result.theirs > AT_LEAST
    return Change(result.case, result.sandbox, then, result.ratio, worse)
