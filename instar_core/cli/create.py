"""instar create: a new, empty image."""

from __future__ import annotations

from instar_core.cli import creating, names, optionlist, output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.errors import InstarError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import Creation

VERB = Verb(
    "create",
    ("[-f FMT] [-o FMT_OPTS]", "[-b BACKING_FILE [-B BACKING_FMT]] [-u]", "[-q] FILE [SIZE]"),
    "Create and format a new image file",
    (
        Opt("format", "f", "format", "FMT", ("specifies the format of the new image (default: raw)",)),
        Opt(
            "options",
            "o",
            "options",
            "FMT_OPTS",
            ("format-specific options (specify '-o help' for help)",),
            optionlist.gather,
            True,
        ),
        Opt("backing", "b", "backing", "BACKING_FILE", ("create target image to be a CoW on top of BACKING_FILE",)),
        Opt(
            "backing_format",
            "B",
            "backing-format",
            "BACKING_FMT",
            ("specifies the format of BACKING_FILE (-F means the same)",),
        ),
        Opt("backing_format", "F", "", "BACKING_FMT"),
        Opt("unsafe", "u", "backing-unsafe", "", ("do not fail if BACKING_FILE can not be read",)),
        values.QUIET,
        values.OBJECT,
    ),
    (
        ("FILE", ("name of the image file to create (will be overwritten if already exists)",)),
        (
            "SIZE[bKMGTPE]",
            (
                "image size with optional multiplier suffix (powers of 1024)",
                "(required unless BACKING_FILE is specified)",
            ),
        ),
    ),
)

SIZE = values.size("image size")


def run(call: Call, parsed: Parsed) -> int:
    """The image is made; before that it is announced on standard output."""
    format = parsed.get("format", "raw")
    path = parsed.operands[0] if parsed.operands else None
    if optionlist.wants_help(parsed.get("options")):
        output.out(creating.option_help(creating.target(format), path))
        return 0
    if path is None:
        raise Fault("Expecting image file name", usage=True)
    size = SIZE(parsed.operands[1]) if len(parsed.operands) > 1 else None
    if len(parsed.operands) > 2:
        raise Fault(f"Unexpected argument: {parsed.operands[2]}", usage=True)
    try:
        return _create(call, parsed, path and names.local(path), format, size)
    except Fault as fault:
        raise Fault(f"{path}: {fault.lines[0]}", *fault.lines[1:]) from None
    except InstarError as error:
        raise Fault(f"{path}: {error.message}", *(error.hint.split("\n") if error.hint else ())) from error


def _create(call: Call, parsed: Parsed, path: str, format: str, size: int | None) -> int:
    spec = creating.target(format)
    options = creating.checked(parsed.get("options"), spec)
    if size is not None and "size" in options:
        raise UsageError("The image size must be specified only once", path=path)
    creating.backable(spec, parsed.get("backing"), parsed.get("backing_format"))
    from instar_core.operations.create import create

    create(
        path,
        format=format,
        size=size,
        options=options,
        backing=parsed.get("backing"),
        backing_format=parsed.get("backing_format"),
        unsafe_backing=parsed.get("unsafe", False),
        settings=call.settings,
        announce=None if parsed.get("quiet") else lambda made: _announce(made._replace(filename=parsed.operands[0])),
    )
    return 0


def _announce(made: Creation) -> None:
    from instar_core.cli.render import create as render

    output.out(render.human(made))
    output.flush()
