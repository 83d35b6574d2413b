"""python -m bench.sandbox [--runs N] [--json FILE]: a guest against a jailed process, on this machine.

Snapshots are made in memory, so that nothing needs to be prepared or is left.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile

from bench import live, programs, table
from instar_core.errors import SandboxError

RUNS = 25
HEAD = ("row", "runs", "process", "kvm", "ratio", "aim", "load")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        metavar="N",
        help=f"runs of each kind, fewer of what takes long (default {RUNS})",
    )
    parser.add_argument("--json", metavar="FILE", help="also write every figure there")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs expects a positive number")
    return asked


def cells(row: live.Row) -> tuple[str, ...]:
    """A row as text: medians, and the ratio of these."""
    both = [statistics.median(figures) if figures else None for figures in (row.process, row.kvm)]
    process, kvm = both
    ratio = f"{kvm / process:.2f}" if process and kvm else ""
    load = f"{row.load[0]:.1f}-{row.load[1]:.1f}"
    return (
        row.name,
        str(len(row.kvm)),
        *["" if value is None else shown(row.unit, value) for value in both],
        ratio,
        row.aim,
        load,
    )


def shown(unit: str, value: float) -> str:
    if unit == "bytes":
        return table.amount(value)
    if unit == "rate":
        return f"{value / 1e6:.0f} MB/s"
    return f"{value * 1e6:.0f} us" if value < 1e-3 else table.duration(value)


def main() -> int:
    """0 if every row could be measured and every answer was right."""
    asked = parse()
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="instar-bench.") as folder:
            os.chmod(folder, 0o755)
            for row in live.rows(folder, asked.runs):
                rows.append(row)
                print(row.name, file=sys.stderr, flush=True)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 2
    print(*table.aligned([HEAD, *map(cells, rows)]), sep="\n")
    print(f"\nmedians; {programs.machine()}")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump([row._asdict() for row in rows], file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
