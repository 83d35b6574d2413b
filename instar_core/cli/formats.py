"""instar formats: which formats are installed, what they can do, and why others cannot be used."""

from __future__ import annotations

from instar_core.cli import output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Verb
from instar_core.cli.jsontext import pretty
from instar_core.cli.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "formats",
    ("[--output human|json]",),
    "Show the installed formats",
    (values.OUTPUT,),
)
HEADINGS = ("Format", "Title", "Distribution", "Version", "Abilities")
SETTLED = 4


def run(call: Call, parsed: Parsed) -> int:
    """A table is printed; an unusable format has the reason in place of its abilities."""
    del call
    if parsed.operands:
        raise Fault(f"Unexpected argument: {parsed.operands[0]}", usage=True)
    rows = table()
    if parsed.get("output") == "json":
        keys = ("format", "title", "distribution", "version")
        made = []
        for row, usable in rows:
            entry: dict[str, object] = dict(zip(keys, row[:SETTLED], strict=True))
            entry["abilities" if usable else "unusable"] = row[SETTLED].split() if usable else row[SETTLED]
            made.append(entry)
        output.out(pretty(made) + "\n")
    elif output.terminal():
        _draw(rows)
    else:
        output.out(plain([HEADINGS, *(row for row, _ in rows)]))
    return 0


def table() -> list[tuple[tuple[str, ...], bool]]:
    """A row for each format, and whether it is usable."""
    from instar_core import registry

    rows = []
    for entry, spec, reason in registry.formats():
        title, last = (spec.title, " ".join(sorted(spec.capabilities))) if spec else ("", reason)
        row = tuple(map(printable, (entry.name, title, entry.distribution, entry.version, last)))
        rows.append((row, spec is not None))
    return rows


def plain(rows: list[tuple[str, ...]]) -> str:
    """The rows with their columns below one another, for pipes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _draw(rows: list[tuple[tuple[str, ...], bool]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*HEADINGS)
    for row, usable in rows:
        drawn.add_row(*(Text(cell, style="" if usable else "red") for cell in row))
    output.flush()
    Console().print(drawn)
