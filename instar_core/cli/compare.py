"""instar compare: whether two images hold the same."""

from __future__ import annotations

from instar_core.cli import imageopts, output, precedence, progress, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.outcome import COMPARE_OPEN
from instar_core.cli.render import compare as render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

VERB = Verb(
    "compare",
    ("[-f FMT] [-F FMT] [-s] [-T CACHE]", "[-U] [-p] [-q] FILE1 FILE2"),
    "Check if two images have the same contents",
    (
        Opt("first", "f", "a-format", "FMT", ("specify FILE1 image format explicitly (default: probing is used)",)),
        Opt("second", "F", "b-format", "FMT", ("specify FILE2 image format explicitly (default: probing is used)",)),
        values.IMAGE_OPTS,
        Opt("strict", "s", "strict", "", ("strict mode, also check if sizes are equal",)),
        Opt("cache", "T", "cache", "CACHE_MODE", ("images caching mode (default: writeback)",)),
        values.SHARE._replace(help=("open images in shared mode for concurrent access",)),
        values.PROGRESS,
        values.QUIET,
        values.OBJECT,
    ),
    (("FILE1, FILE2", ("names of the image files",)),),
)


def run(call: Call, parsed: Parsed) -> int:
    """0 where the images are the same, 1 where they differ; the result is printed."""
    if len(parsed.operands) != 2:
        raise Fault("Expecting two image file names", usage=True)
    quiet, strict = parsed.get("quiet", False), parsed.get("strict", False)
    wanted = parsed.get("progress", False) and not quiet
    with progress.drawn(call, wanted=wanted, step=progress.COMPARE_STEP, late=True) as drawn:
        first, second = images(call, parsed)
        from instar_core.operations.compare import compare

        found = compare(
            first.path,
            second.path,
            first_format=first.format,
            second_format=second.format,
            first_options=first.options,
            second_options=second.options,
            strict=strict,
            settings=call.settings,
            progress=drawn,
        )
        lines = render.human(found, strict=strict).splitlines(keepends=True)
        if isinstance(drawn, progress.Late):
            drawn.begin()
            output.out("".join(lines[:-1]))
            del lines[:-1]
            if found.identical:
                drawn.done()
        if not quiet:
            output.out("".join(lines))
    return 0 if found.identical else 1


def images(call: Call, parsed: Parsed) -> tuple[imageopts.Source, imageopts.Source]:
    """The two images. Raises Fault and UsageError."""
    formats = parsed.get("first"), parsed.get("second")
    given = parsed.get("image_opts")
    exclusive = Fault("--image-opts and --format are mutually exclusive", code=COMPARE_OPEN)
    if given and formats[0] is not None:
        raise exclusive
    values.cache(parsed.get("cache"), "writeback", source=True, code=COMPARE_OPEN)
    found: list[imageopts.Source] = []
    with precedence.SourcesFirst(found, call.settings):  # the first is opened before the name of the second is read
        for name, format in zip(parsed.operands, formats, strict=True):
            if given and format is not None:
                raise exclusive
            found.append(imageopts.described(name) if given else imageopts.named(name, format))
    return found[0], found[1]
