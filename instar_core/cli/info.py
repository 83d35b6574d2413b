"""instar info: what an image says of itself."""

from __future__ import annotations

from instar_core.cli import imageopts, output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.cli.imageopts import Source

VERB = Verb(
    "info",
    ("[-f FMT] [--backing-chain] [-U] [--output human|json] FILE",),
    "Display information about the image",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        Opt(
            "chain",
            "",
            "backing-chain",
            "",
            ("display information about the backing chain for copy-on-write overlays",),
        ),
        Opt("cache", "t", "cache", "CACHE", ("cache mode for FILE (default: writeback)",)),
        values.SHARE,
        Opt("limits", "", "limits", "", ("show detected block limits (may depend on options, e.g. cache mode)",)),
        values.OUTPUT,
        values.OBJECT,
    ),
    (values.FILE,),
)


def run(call: Call, parsed: Parsed) -> int:
    """The facts are printed."""
    asked = one_file(parsed)
    cache = values.cache(parsed.get("cache"), "writeback")
    chain = parsed.get("chain", False)
    from instar_core import launch

    begun = launch.begin(asked.path, "info", call.settings, asked.format) if asked.options is None else None
    from instar_core.cli.render import info as render  # from here on while the worker gets ready
    from instar_core.operations.info import info

    disks = info(
        asked.path,
        format=asked.format,
        open_options=asked.options,
        chain=chain,
        limits=parsed.get("limits", False),
        direct=cache in ("none", "directsync"),
        settings=call.settings,
        begun=begun,
    )
    if asked.options is not None:
        shown = imageopts.shown(asked, disks[0].image.format)
        disks[0] = disks[0] if shown is None else disks[0]._replace(filename=shown)
    if asked.protocol:
        file = disks[0].children[-1]
        image = disks[0].image._replace(format=asked.protocol)
        disks[0] = disks[0]._replace(image=image, children=(), limits=file.limits)
    if parsed.get("output") == "json":
        output.out(render.json(disks, call.settings, chain=chain))
    else:
        output.out(render.human(disks, call.settings))
    return 0


def one_file(parsed: Parsed) -> Source:
    """The one image that the verb is called with."""
    if len(parsed.operands) != 1:
        raise Fault("Expecting one image file name", usage=True)
    return imageopts.source(parsed, parsed.operands[0])
