"""instar resize: the virtual disk grows or shrinks."""

from __future__ import annotations

from instar_core.cli import imageopts, output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.sizes import OutOfRange, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed


def preallocation(text: str) -> str:
    """How the new areas are to be there from the start."""
    if text not in MODES:
        raise Fault(f"Invalid preallocation mode '{text}'")
    return text


MODES = ("off", "metadata", "falloc", "full")
VERB = Verb(
    "resize",
    ("[-f FMT | --image-opts] [--preallocation PREALLOC] [--shrink]", "[-q] [--object OBJDEF] FILE [+-]SIZE[bkKMGTPE]"),
    "Resize the image",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        Opt("shrink", "", "shrink", "", ("allow operation when the new size is smaller than the original",)),
        Opt(
            "preallocation",
            "",
            "preallocation",
            "PREALLOC",
            ("specify FMT-specific preallocation type for the new areas",),
            preallocation,
        ),
        values.QUIET,
        values.OBJECT,
    ),
    (
        values.FILE,
        (
            "[+-]SIZE[bkKMGTPE]",
            (
                "new image size or amount by which to shrink (-)/grow (+),",
                "with optional multiplier suffix (powers of 1024, default is bytes)",
            ),
        ),
    ),
    negative=True,
)

WARNING = (
    "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an "
    "operation, make sure there is no important data there."
)
SUFFIXES = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-",
    "and exabytes, respectively.",
)


def run(call: Call, parsed: Parsed) -> int:
    """The image has the new size."""
    from instar_core.operations import resize as operation

    mode = parsed.get("preallocation", "off")
    if len(parsed.operands) < 2:
        raise Fault("Expecting image file name and size", usage=True)
    if len(parsed.operands) > 2 >= len(parsed.operands) - parsed.behind:
        raise Fault("Expecting image file name and size", usage=True)
    if len(parsed.operands) > 2:
        raise Fault("Extra argument(s) in command line", usage=True)
    name, text = parsed.operands
    relative = {"+": 1, "-": -1}.get(text[:1], 0)
    try:
        size = parse_size(text[1:] if relative else text)
    except OutOfRange:
        raise Fault(f"Value '{text[1:] if relative else text}' is out of range for parameter 'size'") from None
    except ValueError:
        raise Fault("Parameter 'size' expects a non-negative number below 2^64", *SUFFIXES) from None
    asked = imageopts.source(parsed, name)
    try:
        operation.resize(
            asked.path,
            size,
            relative=relative,
            shrink=parsed.get("shrink", False),
            preallocation=mode,
            format=asked.format,
            open_options=asked.options,
            settings=call.settings,
        )
    except operation.NotAsked as error:
        raise Fault(error.message, Fault.PREFIX + WARNING) from None
    if not parsed.get("quiet"):
        output.out("Image resized.\n")
    return 0
