"""instar config: which settings hold, and where each comes from."""

from __future__ import annotations

from instar_core.cli import output, settings_load, values
from instar_core.cli.fault import Fault
from instar_core.cli.formats import plain
from instar_core.cli.getopt import Verb
from instar_core.cli.jsontext import pretty
from instar_core.cli.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "config",
    ("[--output human|json]",),
    "Show the settings that hold and where they come from",
    (values.OUTPUT,),
)


def run(call: Call, parsed: Parsed) -> int:
    """Every setting with its value and origin, and the files that are looked for."""
    if parsed.operands:
        raise Fault(f"Unexpected argument: {parsed.operands[0]}", usage=True)
    held = settings_load.load(parsed.values, qemu=call.qemu)
    del held["called"]
    if parsed.get("output") == "json":
        made = {name: {"value": _json(each.value), "origin": each.origin} for name, each in held.items()}
        output.out(pretty(made) + "\n")
        return 0
    rows = [("Setting", "Value", "From")]
    rows += [(name, _told(each.value), printable(each.origin)) for name, each in held.items()]
    output.out(plain([tuple(row) for row in rows]))
    return 0


def _json(value: object) -> object:
    return str(value) if isinstance(value, float) else value


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == ():
        return "-"
    return printable(", ".join(value) if isinstance(value, tuple) else str(value))
