"""python -m bench [--quick] [--only GLOB] [--runs N] [--sandbox NAME] [--json FILE]: instar against qemu-img, here."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from fnmatch import fnmatchcase

from bench import programs, table
from bench.cases import CASES
from bench.compare import carry_out
from bench.images import QUICK, Images, Scale

RUNS = 5
SANDBOXES = {"process": ("process",), "kvm": ("kvm",), "both": ("process", "kvm")}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller images: a look, not a measurement")
    parser.add_argument("--only", action="append", metavar="GLOB", help="cases whose name fits; may be repeated")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"runs of each program (default {RUNS})")
    parser.add_argument(
        "--sandbox",
        choices=SANDBOXES,
        default="process",
        help="where instar parses (default process); kvm needs what `instar sandbox prepare` makes",
    )
    parser.add_argument("--json", metavar="FILE", help="also write every figure there")
    parser.add_argument(
        "--folder", metavar="DIR", help="where images are made (default: the system's temporary folder)"
    )
    parser.add_argument("--list", action="store_true", help="show the names of the cases and end")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs expects a positive number")
    return asked


def main() -> int:
    """0 if every case that was asked for could be measured and both programs agreed."""
    asked = parse()
    chosen = [case for case in CASES if not asked.only or any(fnmatchcase(case.name, glob) for glob in asked.only)]
    if asked.list:
        print(*(case.name for case in chosen), sep="\n")
        return 0
    if not chosen:
        print("no case has such a name", file=sys.stderr)
        return 2
    try:
        found = programs.find()
    except programs.Missing as error:
        print(error, file=sys.stderr)
        return 2
    facts = programs.described(found)
    print(*(f"{name}: {text}" for name, text in facts.items()), sep="\n")
    scale = QUICK if asked.quick else Scale()
    kind = "quick" if asked.quick else "full"
    print(f"runs: {asked.runs} ({kind}); sandbox: {asked.sandbox}; sizes: {scale._asdict()}\n", flush=True)
    begin = time.monotonic()
    results = []
    with tempfile.TemporaryDirectory(prefix="instar-bench.", dir=asked.folder) as folder:
        os.chmod(folder, 0o755)
        images = Images(folder, found, scale)
        for number, case in enumerate(chosen, 1):
            print(f"{number}/{len(chosen)} {case.name}", file=sys.stderr, flush=True)
            results += carry_out(case, images, found, asked.runs, SANDBOXES[asked.sandbox])
    print(*table.lines(results), sep="\n")
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"\n{time.monotonic() - begin:.0f} s; load average now {load}; ratios below 1: instar did better")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            told = [result._asdict() for result in results]
            json.dump({"facts": facts, "scale": scale._asdict(), "results": told}, file, indent=1)
    return 1 if any(result.trouble for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
