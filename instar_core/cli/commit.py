"""instar commit: what an image holds goes into its backing image."""

from __future__ import annotations

from instar_core.cli import output, progress, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file
from instar_core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "commit",
    ("[-f FMT | --image-opts] [-t CACHE_MODE] [-b BASE_IMG]", "[-d] [-r RATE] [-q] [--object OBJDEF] FILE"),
    "Commit image to its backing file",
    (
        values.FORMAT._replace(help=("specify FILE image format explicitly (default: probing is used)",)),
        values.IMAGE_OPTS,
        Opt("cache", "t", "cache", "CACHE_MODE", ("image cache mode (default: writeback)",)),
        Opt("drop", "d", "drop", "", ("skip emptying FILE on completion",)),
        Opt(
            "base",
            "b",
            "base",
            "BASE_IMG",
            (
                "image in the backing chain to commit change to",
                "(default: immediate backing file; implies --drop)",
            ),
        ),
        Opt("rate", "r", "rate-limit", "RATE", ("I/O rate limit, in bytes per second",), values.size("rate limit")),
        values.PROGRESS,
        values.QUIET,
        values.OBJECT,
    ),
    (("FILE", ("name of the image file, or an option string (key=value,..)", "with --image-opts, to operate on")),),
)
STEP = 1.0


def run(call: Call, parsed: Parsed) -> int:
    """The base image holds what the image held."""
    if len(parsed.operands) != 1:
        raise Fault("Expecting one image file name", usage=True)
    cache = values.cache(parsed.get("cache"), "writeback")
    asked = one_file(parsed)
    from instar_core.operations.commit import commit

    quiet = parsed.get("quiet", False)
    with progress.drawn(call, wanted=parsed.get("progress", False) and not quiet, step=STEP, late=True) as drawn:
        try:
            commit(
                asked.path,
                base=parsed.get("base"),
                drop=parsed.get("drop", False),
                format=asked.format,
                open_options=asked.options,
                cache=cache,
                rate=parsed.get("rate", 0),
                settings=call.settings,
                progress=drawn,
            )
        except UsageError as error:
            error.message = error.message.replace(f"chain of '{asked.path}'", f"chain of '{parsed.operands[0]}'")
            raise
    if not quiet:
        output.out("Image committed.\n")
    return 0
