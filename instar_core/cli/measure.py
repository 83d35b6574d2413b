"""instar measure: how many bytes a new image needs."""

from __future__ import annotations

from instar_core.cli import creating, imageopts, optionlist, output, precedence, values
from instar_core.cli.convert_options import again, snapshot
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.errors import InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "measure",
    (
        "[-f FMT] [-l SNAPSHOT] [-U]",
        "[-O TARGET_FMT] [-o TARGET_FMT_OPTS] [--output human|json]",
        "(--size SIZE | FILE)",
    ),
    "Calculate the file size required for a new image",
    (
        values.FORMAT._replace(name="source-format"),
        Opt("format", "f", "format", "FMT"),
        values.IMAGE_OPTS._replace(name="source-image-opts", help=()),
        values.IMAGE_OPTS,
        Opt("snapshot", "l", "snapshot", "SNAPSHOT", ("use this snapshot in FILE as source",), snapshot),
        Opt(
            "target_format",
            "O",
            "target-format",
            "TARGET_FMT",
            ("desired target/output image format (default: raw)",),
        ),
        Opt(
            "options",
            "o",
            "target-format-options",
            "TARGET_FMT_OPTS",
            ("options specific to TARGET_FMT",),
            optionlist.gather,
            True,
        ),
        Opt("options", "o", "options", "TARGET_FMT_OPTS", (), optionlist.gather, True),
        values.OUTPUT,
        values.OBJECT,
        values.SHARE._replace(help=("open images in shared mode for concurrent access",)),
        Opt(
            "size",
            "s",
            "size",
            "SIZE[bKMGTPE]",
            ("measure file size for given image size,", "with optional multiplier suffix (powers of 1024)"),
            values.size("image size"),
        ),
    ),
    (("FILE", ("measure file size required to convert from FILE",)),),
)


NEWER = ("(use version=v3 or greater)", "(use compat=1.1 or greater)")
COMPAT = ("Parameter 'version' does not accept value", "Invalid compatibility level:")


def run(call: Call, parsed: Parsed) -> int:
    """The sizes are printed."""
    if len(parsed.operands) > 1:
        raise Fault("At most one filename argument is allowed.")
    name = parsed.operands[0] if parsed.operands else None
    size = parsed.get("size")
    if name is None and (
        parsed.get("format") is not None or parsed.get("image_opts") or parsed.get("snapshot") is not None
    ):
        raise Fault("--image-opts, -f, and -l require a filename argument.")
    if name is None and size is None:
        raise Fault("Either --size N or one filename must be specified.")
    if name is not None and size is not None:
        raise Fault("--size N cannot be used together with a filename.")
    asked = None if name is None else imageopts.source(parsed, name)
    with precedence.SourcesFirst([] if asked is None else [asked], call.settings, parsed.get("snapshot")):
        format = parsed.get("target_format", "raw")
        spec = creating.target(format)
        try:
            options = creating.checked(parsed.get("options"), spec)
        except Fault as fault:
            raise Fault(*fault.lines, again(f"Invalid options for file format '{format}'")) from None
        from instar_core.cli.render import measure as render
        from instar_core.operations.measure import measure

        try:
            found = measure(
                None if asked is None else asked.path,
                size=size,
                format=None if asked is None else asked.format,
                open_options=None if asked is None else asked.options,
                target_format=format,
                options=options,
                snapshot=parsed.get("snapshot"),
                settings=call.settings,
            )
        except InstarError as error:  # in the words for an image that is not being made
            error.message = error.message.replace(f" for file format '{format}'", "")
            error.message = error.message.replace(*NEWER)
            error.message = error.message.replace(*COMPAT) if error.message.startswith(COMPAT[0]) else error.message
            raise
    output.out(render.json(found) if parsed.get("output") == "json" else render.human(found))
    return 0
