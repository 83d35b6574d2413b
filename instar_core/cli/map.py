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


def run(call: Call, parsed: Parsed) -> int:
    """The ranges are printed as they come. Nothing is printed where the image cannot be opened."""
    asked = one_file(parsed)
    from instar_core import launch

    begun = launch.begin(asked.path, "map", call.settings, asked.format) if asked.options is None else None
    from instar_core.cli.render import map as render  # from here on while the worker gets ready
    from instar_core.operations.map import batches

    start, length = parsed.get("start", 0), parsed.get("length")
    ranges = batches(asked.path, asked.format, start, length, asked.options, call.settings, begun)
    shown = render.json if parsed.get("output") == "json" else render.human
    for piece in shown(ranges):
        output.out(piece)
    return 0
