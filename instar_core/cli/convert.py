"""instar convert: copies one or more images to another, in another format if wanted."""

from __future__ import annotations

from instar_core.cli import creating, imageopts, names, optionlist, output, precedence, progress, values
from instar_core.cli.convert_options import MOST_SPARSE, VERB
from instar_core.cli.fault import Fault
from instar_core.cli.printable import printable
from instar_core.errors import DeviceError, InstarError, UsageError
from instar_core.options import TRUE
from instar_core.types import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import Progress

__all__ = ["VERB", "run"]

SPARSE = 4096
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
    asked = [imageopts.source(parsed, name) for name in operands[:-1]]
    sources = [one.path for one in asked]
    with precedence.SourcesFirst(asked, call.settings, parsed.get("snapshot")):
        into = target_of(call, parsed, operands[-1])
        arguments = dict(wishes(parsed, target_format, len(sources)), source_cache=source_cache)
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
        return imageopts.described(parsed, name)
    if parsed.get("no_create") and names.protocol(name) == "json":
        return imageopts.named(parsed, name, parsed.get("target_format", "raw"))
    try:
        path = names.local(name, proxmox=call.settings.policy == "proxmox")
    except UsageError as error:
        if parsed.get("no_create") or not error.message.startswith(names.UNKNOWN):
            raise
        raise Fault(error.message) from error
    if path != name:
        parsed.values.setdefault("typed", {}).setdefault(path, name)
    return imageopts.Source(path, None)


def at_target(error: InstarError, sources: list[str], target: str) -> bool:
    """Whether the error is about the new image. Where it is a source too, what cannot be read is the source."""
    if error.path != target:
        return False
    if target not in sources or isinstance(error, UsageError):
        return True
    return isinstance(error, DeviceError) and error.errno != ENOENT


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
    if given.get("target_opts") and "target_format" in given:
        raise Fault("--image-opts and --format are mutually exclusive")
    if given.get("snapshot") is not None and sources > 1:
        raise Fault("No support for concatenating multiple snapshot")
    options = making(parsed, target_format) if create else {}
    listed, listed_format = options.pop("backing_file", None), options.pop("backing_fmt", None)
    backing = given.get("backing", listed)
    backing_format = given.get("backing_format", listed_format)
    if backing is not None and sources > 1:
        raise Fault("Having a backing file for the target makes no sense when concatenating multiple input images")
    if backing is not None and create and backing_format is None:
        raise Fault("Use of backing file requires explicit backing format")
    sparse = given.get("sparse", SPARSE)
    return {
        "options": options,
        "compress": bool(given.get("compress")),
        "snapshot": given.get("snapshot"),
        "backing": backing,
        "backing_format": backing_format,
        "create": create,
        "target_is_zero": bool(given.get("target_zero")),
        "sparse": min(sparse, MOST_SPARSE) // SECTOR * SECTOR,
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
    if given.get("compress"):
        if Capability.COMPRESS not in spec.capabilities:
            raise Fault("Compression not supported for this file format")
        if options.get("encryption", "off") in TRUE or "encrypt.format" in options:
            raise Fault("Compression and encryption not supported at the same time")
        if spec.name == "vmdk" and options.get("subformat", "").endswith("Flat"):
            raise Fault("invalid cluster size")
        if options.get("preallocation", "off") != "off":
            raise Fault("Compression and preallocation not supported at the same time")
    options.pop("size", None)
    return options
