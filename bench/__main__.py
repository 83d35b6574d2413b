"""python -m bench [--quick | --smoke] [--only GLOB] [--sandbox NAME] [--json FILE]: instar against qemu-img, here."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase

from bench import places, programs, stored, table
from bench.case import Case
from bench.cases import CASES, INFO
from bench.compare import Result, carry_out
from bench.images import QUICK, SMOKE, Images, Scale

RUNS = 5
SANDBOXES = {"process": ("process",), "kvm": ("kvm",), "both": ("process", "kvm")}
GUEST = 1.3
"""How much longer a command may take when it parses in a guest."""
MEMORY = 150 << 20
"""Bytes that no command is to need more than."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller images: a look, not a measurement")
    size.add_argument("--smoke", action="store_true", help="tiny images, one run: are the outputs right?")
    parser.add_argument("--only", action="append", metavar="GLOB", help="cases whose name fits; may be repeated")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"runs of each program (default {RUNS})")
    parser.add_argument(
        "--sandbox",
        choices=SANDBOXES,
        default="process",
        help="where instar parses (default process); kvm needs what `instar sandbox prepare` makes",
    )
    parser.add_argument("--json", metavar="FILE", help="also write every figure there, after each case")
    parser.add_argument("--resume", action="store_true", help="keep what the file of --json holds and do the rest")
    parser.add_argument("--against", metavar="FILE", help="compare the ratios with those of an earlier --json")
    parser.add_argument(
        "--folder", metavar="DIR", help="where images are made (default: the system's temporary folder)"
    )
    parser.add_argument("--list", action="store_true", help="show the names of the cases and end")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs expects a positive number")
    if asked.resume and not asked.json:
        parser.error("--resume needs --json")
    return asked


def main() -> int:
    """0 if both programs agreed in every case that was asked for, however long it took them."""
    asked = parse()
    places.leave_nothing()
    chosen = [case for case in CASES if not asked.only or any(fnmatchcase(case.name, glob) for glob in asked.only)]
    if asked.list:
        print(*(case.name for case in chosen), sep="\n")
        return 0
    if not chosen:
        print("no case has such a name", file=sys.stderr)
        return 2
    kind = "smoke" if asked.smoke else "quick" if asked.quick else "full"
    try:
        found = programs.find()
        old = stored.read(asked.against) if asked.against else stored.Stored()
        kept = stored.read(asked.json) if asked.resume and os.path.exists(asked.json) else stored.Stored(kind)
        if asked.resume and kept.kind != kind:
            raise ValueError(f"{asked.json} holds figures of other sizes ({kept.kind})")
    except (programs.Missing, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if asked.smoke:  # of which no figure counts
        chosen = [case._replace(aim=0.0) for case in chosen if not case.apart]
    facts = programs.described(found)
    print(*(f"{name}: {text}" for name, text in facts.items()), sep="\n")
    scale = {"smoke": SMOKE, "quick": QUICK, "full": Scale()}[kind]
    runs = 0 if asked.smoke else asked.runs
    if asked.against and old.kind != kind:
        print(f"the figures of {asked.against} are of other sizes")
    print(f"runs: {runs or 1} ({kind}); sandbox: {asked.sandbox}; sizes: {scale._asdict()}\n", flush=True)
    begin = time.monotonic()
    jails = SANDBOXES[asked.sandbox]
    lines = table.Lines([table.titled(case.name, place) for case in chosen for place in jails])
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="instar-bench.", dir=asked.folder) as folder, ExitStack() as after:
        os.chmod(folder, 0o755)
        images = Images(folder, found, scale)
        after.callback(images.leave)
        (first, *_) = carry_out(Case("first", INFO), images, 0, jails)
        if first.trouble:
            print(first.trouble, file=sys.stderr)
            return 2
        print(*lines.head(), sep="\n", flush=True)
        for made in carried_out(chosen, images, runs, jails, kept):
            results += made
            print(*(_told(lines, result, old) for result in made), sep="\n", flush=True)
            if asked.json:
                done = {result.case for result in results}
                rest = [each for name, those in kept.results.items() if name not in done for each in those]
                about = {"facts": facts, "kind": kind, "scale": scale._asdict()}
                stored.write(asked.json, about, [*results, *rest])
    print(*summary(results, old), sep="\n")
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"{time.monotonic() - begin:.0f} s; load average now {load}; ratios below 1: instar did better")
    return 1 if any(result.trouble for result in results) else 0


def carried_out(
    chosen: list[Case], images: Images, runs: int, jails: tuple[str, ...], kept: stored.Stored
) -> Iterator[list[Result]]:
    """The results case by case. Images that no later case needs are gone."""
    for number, case in enumerate(chosen, 1):
        old = kept.results.get(case.name, [])
        wanted = jails if case.parses else ("",)
        if old and not any(each.trouble for each in old) and {each.sandbox for each in old} >= set(wanted):
            yield old
            continue
        print(f"{number}/{len(chosen)} {case.name}", file=sys.stderr, flush=True)
        yield carry_out(case, images, runs, jails)
        for place in {case.place for case in chosen}:
            later = [each for each in chosen[number:] if each.place == place]
            images.drop_all_but(place, [name for each in later for name in each.images])


def _told(lines: table.Lines, result: Result, old: stored.Stored) -> str:
    line = lines.line(result)
    became = stored.change(result, old)
    return line if became is None else f"{line}  then {became.then:.2f}{' WORSE' if became.worse else ''}"


def summary(results: list[Result], old: stored.Stored) -> Iterator[str]:
    """What the table amounts to."""
    aimed = [result for result in results if result.aim and result.ratio]
    missed = [result for result in aimed if result.ratio > result.aim]
    yield f"\naims reached: {len(aimed) - len(missed)} of {len(aimed)}" if aimed else ""
    rows = {
        "missed": missed,
        f"guests slower than {GUEST} of a process": [result for result in results if result.jail > GUEST],
        f"more than {MEMORY >> 20} MiB": [result for result in results if result.peaks[0] > MEMORY],
        "worse than then": [each for each in results if (became := stored.change(each, old)) and became.worse],
        "skipped": [result for result in results if result.skipped],
        "trouble": [result for result in results if result.trouble],
    }
    for title, those in rows.items():
        if those:
            yield f"{title}: {', '.join(table.titled(each.case, each.sandbox) for each in those)}"


if __name__ == "__main__":
    sys.exit(main())
