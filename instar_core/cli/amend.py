"""instar amend: changes options of an image that is there already."""

from __future__ import annotations

from instar_core.cli import creating, optionlist, output, progress, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import Progress
    from instar_core.types import FormatSpec

VERB = Verb(
    "amend",
    ("-o FMT_OPTS [-f FMT | --image-opts]", "[-t CACHE] [--force] [-p] [-q] [--object OBJDEF] FILE"),
    "Update format-specific options of the image",
    (
        Opt(
            "options",
            "o",
            "options",
            "FMT_OPTS",
            ("FMT-specific format options (required)",),
            optionlist.gather,
            True,
        ),
        values.FORMAT._replace(help=("specify FILE format explicitly (default: probing is used)",)),
        values.IMAGE_OPTS,
        Opt("cache", "t", "cache", "CACHE", ("cache mode for FILE (default: writeback)",)),
        Opt("force", "", "force", "", ("allow certain unsafe operations",)),
        values.PROGRESS,
        values.QUIET,
        values.OBJECT,
    ),
    (values.FILE,),
)
STEP = 1.0


def run(call: Call, parsed: Parsed) -> int:
    """The image is changed. Nothing is printed but progress."""
    text = parsed.get("options")
    if text is None:
        raise Fault("Must specify options (-o)", usage=True)
    wanted = parsed.get("progress", False) and not parsed.get("quiet")
    with progress.drawn(call, wanted=wanted, step=STEP, late=True) as drawn:
        if not _amended(call, parsed, text, drawn) and isinstance(drawn, progress.Late):
            drawn.idle = True
    return 0


def _amended(call: Call, parsed: Parsed, text: str, drawn: Callable[[Progress], None]) -> bool:
    """The image has the options, or what they can be was printed, and then it is false."""
    from instar_core.operations import amend as operation

    if optionlist.wants_help(text) and parsed.get("format") is not None:
        output.out(option_help(operation.amendable(parsed.get("format"))))
        return False
    if len(parsed.operands) != 1:
        raise Fault("Expecting one image file name")
    cache = values.cache(parsed.get("cache"), "writeback")
    asked = one_file(parsed)
    if optionlist.wants_help(text):
        output.out(option_help(operation.amendable_at(asked.path, asked.format, asked.options, call.settings)))
        return False
    operation.amend(
        asked.path,
        dict(optionlist.pairs(text)),
        format=asked.format,
        open_options=asked.options,
        force=parsed.get("force", False),
        cache=cache,
        settings=call.settings,
        progress=drawn,
    )
    return True


def option_help(spec: FormatSpec) -> str:
    """What `-o help` prints: every option with type and meaning."""
    lines = [f"Amend options for '{spec.name}':"]
    for option in sorted(spec.amend_options):
        typed = f"{option.name}=<{creating.TYPES[option.type]}>"
        lines.append(f"  {typed:<22} - {option.help}")
    return "\n".join(lines) + "\n"
