"""instar convert: copies one or more images to another, in another format if wanted."""

from __future__ import annotations

from instar_core.cli import creating, imageopts, names, optionlist, output, precedence, progress, values
from instar_core.cli.convert_options import MOST_SPARSE, VERB
from instar_core.cli.fault import Fault
from instar_core.cli.printable import printable
from instar_core.errors import InstarError, UsageError
from instar_core.options import TRUE
from instar_core.types import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import Progress
    from instar_core.types import FormatSpec

__all__ = ["VERB", "run"]

PARALLEL = 8
SECTOR = 512
ENOENT = 2


def run(call: Call, parsed: Parsed) -> int:
    """The target holds what the sources hold, one behind the other. Nothing is printed but progress."""
    consistent(parsed)
    target_format = parsed.get("target_format", "raw")
    operands = parsed.operands
    if optionlist.wants_help(parsed.get("options")):
        spec = creating.target(target_format)
        output.out(creating.option_help(spec, operands[-1] if len(operands) > 1 else None))
        return 0
    if len(operands) < 2:
        raise Fault("Must specify image file name")
    source_cache = values.cache(parsed.get("source_cache"), "writeback", source=True)
    wanted = parsed.get("progress", False) and not parsed.get("quiet")
    with progress.drawn(call, wanted=wanted, step=progress.CONVERT_STEP) as drawn:
        _converted(call, parsed, target_format, source_cache, drawn)
    return 0


def _converted(
    call: Call, parsed: Parsed, target_format: str, source_cache: str, drawn: Callable[[Progress], None]
) -> None:
    operands = parsed.operands
    asked: list[imageopts.Source] = []
    with precedence.SourcesFirst(asked, call.settings, parsed.get("snapshot")):
        for name in operands[:-1]:
            asked.append(imageopts.source(parsed, name))
        sources = [one.path for one in asked]
        arguments: dict[str, Any] = {"source_cache": source_cache}
        if parsed.get("no_create"):
            arguments.update(wishes(parsed, target_format, len(sources)))
        into = target_of(call, parsed, operands[-1])
        if not parsed.get("no_create"):
            arguments.update(wishes(parsed, target_format, len(sources)))
    target = into.path
    arguments.update(target_format=target_format, each=[(one.format, one.options) for one in asked])
    if into.format is not None or into.options is not None or parsed.get("target_opts"):
        arguments.update(target_format=into.format, target_options=into.options)
    from instar_core.operations.convert import convert

    def warn(text: str) -> None:
        if not parsed.get("quiet"):
            output.err(f"{call.name}: warning: {printable(text)}\n")

    def skipped(bitmap: str) -> None:
        output.err(printable(f"{call.name}: warning: Skipping inconsistent bitmap '{bitmap}'") + "\n")

    try:
        convert(sources, target, settings=call.settings, progress=drawn, warn=warn, skipped=skipped, **arguments)
    except InstarError as error:
        if not at_target(error, sources, target) or parsed.get("no_create"):
            if error.path is None:
                error.message = error.message.replace(f"Could not open '{target}'", f"Could not open '{operands[-1]}'")
            raise
        hint = error.hint.split("\n") if error.hint else ()
        raise Fault(f"{operands[-1]}: error while converting {target_format}: {error.message}", *hint) from error


def target_of(call: Call, parsed: Parsed, name: str) -> imageopts.Source:
    """The image that is written: described by an option string, by a json: name where it is there already, or a file.

    Its format is None where the command line alone says it.
    """
    if parsed.get("target_opts"):
        if "target_format" in parsed.values:
            raise Fault("--image-opts and --format are mutually exclusive")
        return imageopts.described(name)
    if parsed.get("no_create") and names.protocol(name) == "json":
        return imageopts.named(name, parsed.get("target_format", "raw"))
    try:
        path = names.local(name, proxmox=call.settings.policy == "proxmox")
    except UsageError as error:
        if parsed.get("no_create") or not error.message.startswith(names.UNKNOWN):
            raise
        raise Fault(error.message) from error
    return imageopts.Source(imageopts.Operand(path, name), None)


def at_target(error: InstarError, sources: list[str], target: str) -> bool:
    """Whether the error is about the new image. Where that is a source too, the name tells by which operand it is."""
    return error.path is target or (error.path == target and target not in sources)


def consistent(parsed: Parsed) -> None:
    """Raises Fault for options that contradict one another, the one that qemu-img reports first."""
    given = parsed.values
    if given.get("skip_broken") and not given.get("bitmaps"):
        raise Fault("Use of --skip-broken-bitmaps requires --bitmaps")
    if given.get("compress") and given.get("offload"):
        raise Fault("Cannot enable copy offloading when -c is used")
    if "sparse" in given and given.get("offload"):
        raise Fault("Cannot enable copy offloading when -S is used")
    if given.get("salvage") and given.get("offload"):
        raise Fault("Cannot use copy offloading in salvaging mode")
    if given.get("target_opts") and not given.get("no_create"):
        raise Fault("--target-image-opts requires use of -n flag")
    if given.get("no_create") and "options" in given:
        raise Fault("-o has no effect when skipping image creation")
    if given.get("target_zero") and not given.get("no_create"):
        raise Fault("--target-is-zero requires use of -n flag")


def wishes(parsed: Parsed, target_format: str, sources: int) -> dict[str, Any]:
    """The arguments of the operation, checked against the format of a new target."""
    given = parsed.values
    create = not given.get("no_create")
    if sources > 1 and not given.get("snapshot", "snapshot.").startswith("snapshot."):
        raise Fault("No support for concatenating multiple snapshot")
    options = making(parsed, target_format) if create else {}
    listed, listed_format = options.pop("backing_file", None), options.pop("backing_fmt", None)
    backing = given.get("backing", listed)
    backing_format = given.get("backing_format", listed_format)
    if backing is not None and sources > 1:
        raise Fault("Having a backing file for the target makes no sense when concatenating multiple input images")
    if backing is not None and create and backing_format is None:
        raise Fault("Use of backing file requires explicit backing format")
    if create and given.get("compress"):
        compressible(creating.target(target_format), options)
    sparse = given.get("sparse")
    return {
        "options": options,
        "compress": bool(given.get("compress")),
        "snapshot": given.get("snapshot"),
        "backing": backing,
        "backing_format": backing_format,
        "create": create,
        "target_is_zero": bool(given.get("target_zero")),
        "sparse": None if sparse is None else min(sparse, MOST_SPARSE) // SECTOR * SECTOR,
        "target_cache": values.cache(given.get("target_cache"), "unsafe"),
        "copy_offload": bool(given.get("offload")),
        "parallel": given.get("parallel", PARALLEL),
        "out_of_order": bool(given.get("out_of_order")),
        "salvage": bool(given.get("salvage")),
        "rate": given.get("rate", 0),
        "bitmaps": bool(given.get("bitmaps")),
        "skip_broken_bitmaps": bool(given.get("skip_broken")),
    }


def making(parsed: Parsed, target_format: str) -> dict[str, str]:
    """The options of a new target. Raises Fault for those that its format does not have."""
    given = parsed.values
    spec = creating.target(target_format)
    options = creating.checked(given.get("options"), spec)
    backing = options.get("backing_file", given.get("backing"))
    creating.backable(spec, backing, options.get("backing_fmt", given.get("backing_format")))
    options.pop("size", None)
    return options


def compressible(spec: FormatSpec, options: Mapping[str, str]) -> None:
    """Raises Fault where an image of the format and with these options cannot be compressed."""
    if Capability.COMPRESS not in spec.capabilities:
        raise Fault("Compression not supported for this file format")
    if options.get("encryption", "off") in TRUE or "encrypt.format" in options:
        raise Fault("Compression and encryption not supported at the same time")
    if spec.name == "vmdk" and options.get("subformat", "").endswith("Flat"):
        raise Fault("invalid cluster size")
    if options.get("preallocation", "off") != "off":
        raise Fault("Compression and preallocation not supported at the same time")
