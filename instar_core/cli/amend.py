"""instar amend: changes options of an image that is there already."""

from __future__ import annotations

from instar_core.cli import creating, optionlist, output, progress, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file
from instar_core.types import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
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
            ("FMT-specfic format options (required)",),
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
    values.cache(parsed.get("cache"), "writeback")
    format = parsed.get("format")
    from instar_core import registry

    if optionlist.wants_help(text) and format is not None:
        output.out(option_help(_amendable(registry.spec(format))))
        return 0
    asked = one_file(parsed)
    if optionlist.wants_help(text):
        from instar_core import chain

        with chain.open_member(asked.path, call.settings, "info", format=asked.format, options=asked.options) as member:
            output.out(option_help(_amendable(registry.spec(member.format))))
        return 0
    given = dict(optionlist.pairs(text))
    if asked.format is not None:
        _checked(given, _amendable(registry.spec(asked.format)))
    from instar_core.operations.amend import amend

    wanted = parsed.get("progress", False) and not parsed.get("quiet")
    with progress.drawn(call, wanted=wanted, step=STEP):
        amend(
            asked.path,
            given,
            format=asked.format,
            open_options=asked.options,
            force=parsed.get("force", False),
            settings=call.settings,
        )
    return 0


def _amendable(spec: FormatSpec) -> FormatSpec:
    if Capability.AMEND not in spec.capabilities:
        raise Fault(f"Format driver '{spec.name}' does not support option amendment")
    return spec


def _checked(given: dict[str, str], spec: FormatSpec) -> None:
    """Raises Fault for an option that only a new image takes, and for one that does not exist."""
    known = {option.name for option in spec.amend_options}
    creating_only = {option.name for option in creating.options(spec)}
    for name in given:
        if name in known:
            continue
        if name in ("backing_file", "backing_fmt") and name in creating_only:
            raise Fault("Cannot amend the backing file", "You can use 'qemu-img rebase' instead.")
        hint = ("This option is only supported for image creation",) if name in creating_only else ()
        raise Fault(f"Invalid parameter '{name}'", *hint)


def option_help(spec: FormatSpec) -> str:
    """What `-o help` prints: every option with type and meaning."""
    lines = [f"Amend options for '{spec.name}':"]
    for option in sorted(spec.amend_options):
        typed = f"{option.name}=<{creating.TYPES[option.type]}>"
        lines.append(f"  {typed:<22} - {option.help}")
    return "\n".join(lines) + "\n"
