"""instar map: where the content of a disk lies."""

from __future__ import annotations

from instar_core.cli import output, values
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "map",
    ("[-f FMT] [--start-offset OFFSET] [--max-length LENGTH]", "[--output human|json] [-U] FILE"),
    "Dump image metadata",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        Opt(
            "start",
            "s",
            "start-offset",
            "OFFSET",
            ("start at the given OFFSET in the image, not at the beginning",),
            values.size("start offset"),
        ),
        Opt(
            "length",
            "l",
            "max-length",
            "LENGTH",
            ("process at most LENGTH bytes instead of up to the end of the image",),
            values.size("max length"),
        ),
        values.OUTPUT,
        values.SHARE,
        values.OBJECT,
    ),
    (values.FILE,),
)

BATCH = 1000
"""Pieces of output that are written at once."""


def run(call: Call, parsed: Parsed) -> int:
    """The ranges are printed as they come. Nothing is printed where the image cannot be opened."""
    asked = one_file(parsed)
    from instar_core.cli.render import map as render
    from instar_core.operations.map import map_

    ranges = map_(
        asked.path,
        format=asked.format,
        open_options=asked.options,
        start=parsed.get("start", 0),
        length=parsed.get("length"),
        settings=call.settings,
    )
    shown = render.json if parsed.get("output") == "json" else render.human
    batch: list[str] = []
    try:
        for piece in shown(ranges):
            batch.append(piece)
            if len(batch) == BATCH:
                output.out("".join(batch))
                batch = []
    finally:
        output.out("".join(batch))
    return 0
