"""instar dd: copies blocks of an image to a new one, by the grammar of dd(1)."""

from __future__ import annotations

from instar_core.cli import imageopts, names, output, precedence, values
from instar_core.cli.fault import Fault, Later
from instar_core.cli.getopt import Opt, Verb
from instar_core.errors import InstarError, UsageError
from instar_core.sizes import HIGHEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "dd",
    (
        "[-f FMT|--image-opts] [-O OUTPUT_FMT] [-U] [-n] [-l SNAPSHOT]",
        "[--object OBJDEF] [bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS]",
        "[osize=SIZE] [isize=SIZE] if=INPUT of=OUTPUT",
    ),
    "Copy input to output with optional format conversion",
    (
        values.FORMAT._replace(help=("specify format for INPUT explicitly (default: probing is used)",)),
        values.IMAGE_OPTS,
        Opt("output_format", "O", "output-format", "OUTPUT_FMT", ("format of the OUTPUT (default: raw)",)),
        values.SHARE._replace(help=("open images in shared mode for concurrent access",)),
        Opt("no_create", "n", "", "", ("skip the creation of the target volume",)),
        Opt("snapshot", "l", "", "SNAPSHOT", ("copy this snapshot: its ID or name",)),
        values.OBJECT,
    ),
    (
        ("bs=BLOCK_SIZE[bKMGTP]", ("size of the I/O block, with optional multiplier suffix", "(default: 512)")),
        ("count=COUNT", ("number of blocks to convert (default whole INPUT)",)),
        ("skip=COUNT", ("number of blocks of INPUT to leave out; they count too",)),
        ("osize=SIZE", ("size of OUTPUT (default: that of INPUT)",)),
        ("isize=SIZE", ("how much of INPUT is copied (default: all)",)),
        ("if=INPUT", ("name of the file to use for input; without, a raw disk comes from standard input",)),
        ("of=OUTPUT", ("output file name to create; without, a raw disk goes to standard output",)),
    ),
)

MOST_BLOCK = (1 << 31) - 1
MISSING = "Must specify both input and output files"


def _name(text: str) -> str:
    return text


OPERANDS: dict[str, Callable[[str], Any]] = {
    "bs": values.size("bs", 1, MOST_BLOCK),
    "count": values.size("count", 0, HIGHEST),
    "skip": values.size("skip", 0, HIGHEST),
    "osize": values.size("osize", 0, HIGHEST),
    "isize": values.size("isize", 0, HIGHEST),
    "if": _name,
    "of": _name,
}


def run(call: Call, parsed: Parsed) -> int:
    """The blocks are copied."""
    given: dict[str, Any] = {}
    for operand in parsed.operands:
        key, _, text = operand.partition("=")
        if key not in OPERANDS or "=" not in operand:
            raise Fault(f"unrecognized operand {key}")
        given[key] = OPERANDS[key](text)
    proxmox = not call.qemu or call.settings.policy == "proxmox" or "osize" in given or "isize" in given
    if ("if" not in given or "of" not in given) and not (proxmox and given):
        raise Fault(MISSING)
    if parsed.get("image_opts") and "if" not in given:
        raise Fault("--image-opts needs an input (if=)")
    from instar_core import registry
    from instar_core.operations.dd import dd

    target_format = parsed.get("output_format", "raw")
    source: str | int = 0
    asked = None
    if "if" in given:
        asked = imageopts.source(parsed, given["if"])
        source = asked.path
    elif parsed.get("format", "raw") != "raw":
        raise Later("dd of another format than raw from standard input")
    with precedence.SourcesFirst([] if asked is None else [asked], call.settings):
        if not registry.known(target_format):
            raise Fault("Unknown file format" if call.qemu else f"Unknown file format '{target_format}'")
        try:
            target = names.local(given["of"], proxmox=proxmox) if "of" in given else 1
        except UsageError as error:
            if parsed.get("no_create") or not error.message.startswith(names.UNKNOWN):
                raise
            raise Fault(error.message) from error
    try:
        dd(
            source,
            target,
            block=given.get("bs", 512),
            count=given.get("count"),
            skip=given.get("skip", 0),
            size=given.get("osize"),
            source_size=given.get("isize"),
            source_format=asked.format if asked else None,
            target_format=target_format,
            snapshot=parsed.get("snapshot"),
            open_options=asked.options if asked else None,
            create=not parsed.get("no_create", False),
            settings=call.settings,
            warn=lambda text: output.err(f"{call.name}: {text.replace(str(source), given.get('if', ''), 1)}\n"),
        )
    except InstarError as error:
        itself = source == target and not isinstance(error, UsageError)
        if error.path != target or itself or parsed.get("no_create"):
            raise
        hint = error.hint.split("\n") if error.hint else ()
        raise Fault(f"{given['of']}: error while creating output image: {error.message}", *hint) from error
    return 0
