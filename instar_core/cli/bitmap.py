"""instar bitmap: the dirty bitmaps of an image."""

from __future__ import annotations

from instar_core.cli import imageopts, names, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

    Actions = tuple[tuple[str, str], ...]

MOST = (1 << 63) - 1


def recorded(verb: str) -> Callable[[str, Actions | None], Actions]:
    """A reader that puts the action behind those that were given before it."""

    def read(text: str, before: Actions | None) -> Actions:
        return (*(before or ()), (verb, text))

    return read


def action(verb: str, *text: str, value: str = "") -> Opt:
    """The option of an action. All are kept together, in the order of the command line."""
    return Opt("actions", "", verb, value, text, recorded(verb), True)


VERB = Verb(
    "bitmap",
    (
        "[-f FMT | --image-opts]",
        "( --add [-g SIZE] | --remove | --remove-all | --clear | --enable |",
        "  --disable | --merge SOURCE [-b SRC_FILE [-F SRC_FMT]] )..",
        "[--object OBJDEF] FILE [BITMAP]",
    ),
    "Change the dirty bitmaps that an image stores",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        action("add", "add BITMAP, which records further changes from then on"),
        Opt(
            "granularity",
            "g",
            "granularity",
            "SIZE[bkKMGTPE]",
            ("bytes of the disk for each bit of a bitmap that is added", "(a power of 2 from 512 to 2G)"),
            values.size("granularity", 0, MOST),
        ),
        action("remove", "remove BITMAP"),
        action("remove-all", "remove every bitmap"),
        action("clear", "say that nothing is dirty in BITMAP"),
        action("enable", "let BITMAP record further changes"),
        action("disable", "stop BITMAP from recording"),
        action("merge", "what is dirty in the bitmap SOURCE is dirty in BITMAP too", value="SOURCE"),
        Opt("source", "b", "source-file", "SRC_FILE", ("the image that has SOURCE (default: FILE)",)),
        Opt("source_format", "F", "source-format", "SRC_FMT", ("specify SRC_FILE image format explicitly",)),
        values.OBJECT,
    ),
    (values.FILE, ("BITMAP", ("name of the bitmap; there is none with only --remove-all",))),
)


def run(call: Call, parsed: Parsed) -> int:
    """The actions are done, in the order of the command line."""
    from instar_core.operations.bitmap import Action, bitmap

    actions = [Action(*each) for each in parsed.get("actions", ())]
    consistent(parsed, {each.verb for each in actions})
    name = parsed.operands[1] if len(parsed.operands) > 1 else ""
    asked = imageopts.source(parsed, parsed.operands[0])
    source = parsed.get("source")
    bitmap(
        asked.path,
        name,
        actions,
        granularity=parsed.get("granularity", 0),
        source=source if source is None or names.protocol(source) == "json" else names.local(source),
        source_format=parsed.get("source_format"),
        format=asked.format,
        open_options=asked.options,
        settings=call.settings,
    )
    return 0


def consistent(parsed: Parsed, verbs: set[str]) -> None:
    """Raises Fault for a call that says too little or contradicts itself, for what qemu-img reports first."""
    if not verbs:
        raise Fault("Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge")
    if parsed.get("granularity") and "add" not in verbs:
        raise Fault("granularity only supported with --add")
    if parsed.get("source") is not None and "merge" not in verbs:
        raise Fault("Merge bitmap source file only supported with --merge")
    if parsed.get("source_format") is not None and parsed.get("source") is None:
        raise Fault("-F only supported with -b")
    if verbs == {"remove-all"}:
        if len(parsed.operands) != 1:
            raise Fault("Expecting filename")
    elif len(parsed.operands) != 2:
        raise Fault("Expecting filename and bitmap name")
