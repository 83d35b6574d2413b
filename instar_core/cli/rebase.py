"""instar rebase: an image stands on another backing file."""

from __future__ import annotations

from instar_core.cli import progress, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "rebase",
    (
        "[-f FMT | --image-opts] [-t CACHE]",
        "[-b BACKING_FILE [-B BACKING_FMT] [-T BACKING_CACHE]] [-u]",
        "[-c] [-U] [-p] [-q] [--object OBJDEF] FILE",
    ),
    "Change the backing file of the image",
    (
        values.FORMAT._replace(help=("specify FILE format explicitly (default: probing is used)",)),
        values.IMAGE_OPTS,
        Opt("cache", "t", "cache", "CACHE", ("cache mode for FILE (default: writeback)",)),
        Opt(
            "backing",
            "b",
            "backing",
            'BACKING_FILE|""',
            ("rebase onto this file (specify empty name for no backing file)",),
        ),
        Opt(
            "backing_format",
            "B",
            "backing-format",
            "BACKING_FMT",
            ("specify format for BACKING_FILE explicitly (also -F)",),
        ),
        Opt("backing_format", "F", "", "BACKING_FMT"),
        Opt("backing_cache", "T", "backing-cache", "CACHE", ("BACKING_FILE cache mode (default: writeback)",)),
        Opt(
            "unsafe",
            "u",
            "backing-unsafe",
            "",
            ("change only the name: neither the old nor the new backing file has to be readable",),
        ),
        Opt("compress", "c", "compress", "", ("compress what is written (when image supports this)",)),
        values.SHARE,
        values.PROGRESS,
        values.QUIET,
        values.OBJECT,
    ),
    (("FILE", ("name of the image file, or option string (key=value,..)", "with --image-opts, to operate on")),),
)
STEP = 2.0


def run(call: Call, parsed: Parsed) -> int:
    """The image stands on the new backing file and reads as before. Nothing is printed but progress."""
    if len(parsed.operands) != 1:
        raise Fault("Expecting one image file name", usage=True)
    unsafe = parsed.get("unsafe", False)
    if not unsafe and parsed.get("backing") is None:
        raise Fault("Must specify backing file (-b) or use unsafe mode (-u)", usage=True)
    from instar_core.operations.rebase import rebase

    wanted = parsed.get("progress", False) and not parsed.get("quiet")
    with progress.drawn(call, wanted=wanted, step=STEP) as drawn:
        cache = values.cache(parsed.get("cache"), "writeback")
        values.cache(parsed.get("backing_cache"), "writeback", source=True)
        asked = one_file(parsed)
        rebase(
            asked.path,
            parsed.get("backing"),
            backing_format=parsed.get("backing_format"),
            unsafe=unsafe,
            compress=parsed.get("compress", False),
            format=asked.format,
            open_options=asked.options,
            cache=cache,
            settings=call.settings,
            progress=drawn,
        )
    return 0
