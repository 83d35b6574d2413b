"""instar sandbox test: a hostile program does its worst in the sandboxes, and a table says what came of it."""

from __future__ import annotations

from instar_core.cli import output
from instar_core.cli.fault import Fault
from instar_core.cli.jsontext import pretty
from instar_core.cli.printable import printable
from instar_core.cli.render import sandbox as render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final, NamedTuple

    from instar_sandbox.containment.suite import Outcome

    from instar_core.settings import Settings
else:
    from instar_core.record import NamedTuple

HEADINGS: Final = ("Sandbox", "Deed", "Outcome", "ms", "End")


class Tried(NamedTuple):
    """A deed, and the sandbox in which it was done."""

    platform: str
    outcome: Outcome


def run(platform: str, deeds: Sequence[str] | None, settings: Settings, *, json: bool) -> int:
    """The outcomes are printed, in a pipe each as soon as it is known. 1 if anything was not contained."""
    del settings  # a sandbox that is to be tried is named here, not by them
    from instar_sandbox.containment import suite
    from instar_sandbox.containment.catalogue import DEEDS

    from instar_core.operations import containment

    for name in deeds or ():
        try:
            suite.named(name)
        except KeyError:
            raise Fault(f"--deed: there is no deed '{name}'", usage=True) from None
    absent: dict[str, str] = {}
    found = containment.tried(("kvm", "process") if platform == "all" else (platform,), deeds, absent)
    outcomes = (Tried(*each) for each in found)
    if json:
        done = list(outcomes)
        output.out(pretty({"deeds": [_json(each) for each in done], "absent": absent}) + "\n")
    elif output.terminal():
        done = _drawn(outcomes)
    else:
        done = _streamed(outcomes, max(len(deed.name) for deed in DEEDS))
    bad = sum(not each.outcome.contained for each in done)
    if not json:
        output.out(_summary(done, bad, absent))
    return 1 if bad or platform in absent or not done else 0


def _row(tried: Tried) -> tuple[str, str, str, str, str]:
    outcome = tried.outcome
    if outcome.left_out:
        return tried.platform, outcome.deed.name, "left out", "", printable(outcome.left_out)
    said = "contained" if outcome.contained else "NOT CONTAINED"
    end = outcome.cause if outcome.contained else f"{outcome.cause}: {outcome.text}"
    return tried.platform, outcome.deed.name, said, str(round(outcome.seconds * 1000)), printable(end)


def _json(tried: Tried) -> dict[str, Any]:
    outcome = tried.outcome
    return {
        "sandbox": tried.platform,
        "deed": outcome.deed.name,
        "title": outcome.deed.title,
        "contained": outcome.contained,
        "cause": outcome.cause,
        "text": outcome.text,
        "microseconds": round(outcome.seconds * 1e6),
        "left-out": outcome.left_out,
    }


def _streamed(outcomes: Iterator[Tried], widest: int) -> list[Tried]:
    done = []
    form = f"{{:<7}}  {{:<{widest}}}  {{:<13}}  {{:>6}}  {{}}\n"
    output.out(form.format(*HEADINGS))
    for each in outcomes:
        output.out(form.format(*_row(each)))
        output.flush()
        done.append(each)
    return done


def _drawn(outcomes: Iterator[Tried]) -> list[Tried]:
    """A table, and while it is made the deed that was done last."""
    from rich.console import Console

    done = []
    output.flush()
    console = Console()
    with console.status("…") as status:
        for each in outcomes:
            status.update(f"{each.platform}: {each.outcome.deed.name}")
            done.append(each)
    rows = [(_row(each), each.outcome.contained) for each in done]
    render.show([render.Table("", HEADINGS, rows)])
    return done


def _summary(done: Sequence[Tried], bad: int, absent: dict[str, str]) -> str:
    lines = [f"no {name}: {printable(why)}" for name, why in absent.items()]
    counts: dict[str, int] = {}
    for platform, outcome in done:
        counts[platform] = counts.get(platform, 0) + (not outcome.left_out)
    left_out = len(done) - sum(counts.values())
    if done:
        told = [f"{platform}: {count} deeds" for platform, count in counts.items()]
        told.append(f"{bad} NOT CONTAINED" if bad else "all contained")
        lines.append(", ".join([*told, f"{left_out} left out"] if left_out else told))
    return "\n".join(lines) + "\n"
