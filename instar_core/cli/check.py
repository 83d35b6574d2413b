"""instar check: whether the structure of an image is sound."""

from __future__ import annotations

from instar_core.cli import imageopts, output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file
from instar_core.cli.printable import printable
from instar_core.cli.render import check as render
from instar_core.types import Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import CheckReport
    from instar_core.types import Finding

VERB = Verb(
    "check",
    ("[-f FMT] [-T CACHE_MODE] [-U]", "[--output human|json] [-q] FILE"),
    "Check basic image integrity",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        Opt("cache", "T", "cache", "CACHE_MODE", ("cache mode (default: writeback)",)),
        Opt(
            "repair",
            "r",
            "repair",
            "leaks|all",
            ("repair errors of the given category in the image",),
            values.repair,
        ),
        values.SHARE,
        values.OUTPUT,
        values.QUIET,
        Opt("chain", "", "chain", "", ("check the backing images too (not in qemu-img)",), own=True),
        values.OBJECT,
    ),
    (values.FILE,),
)


def run(call: Call, parsed: Parsed) -> int:
    """Findings are told on standard error as they come, the report is printed; the exit code tells the result."""
    asked = one_file(parsed)
    values.cache(parsed.get("cache"), "writeback", source=True)
    if parsed.get("repair"):
        if parsed.get("share"):
            raise imageopts.refuse_share(asked)
        if parsed.get("chain"):
            raise Fault("--repair and --chain are mutually exclusive", usage=True)
    begun = None
    if asked.options is None and not parsed.get("chain") and not parsed.get("repair"):
        from instar_core import launch

        begun = launch.begin(asked.path, "check", call.settings, asked.format, launch.CHECKING)
    from instar_core.operations import check  # from here on while the worker gets ready

    wanted: dict[str, Any] = {"format": asked.format, "open_options": asked.options, "settings": call.settings}
    chain = parsed.get("chain", False)
    tell = _teller(call)
    reports: list[CheckReport] = []
    if chain:
        reports += check.check_chain(asked.path, **wanted, on_finding=tell)
    elif parsed.get("repair"):
        from instar_core.operations.repair import repair

        def mended(report: CheckReport) -> None:
            quiet = parsed.get("quiet") or parsed.get("output") == "json"
            if not quiet and (report.leaks_fixed or report.corruptions_fixed):
                output.out(render.mended(report))

        reports.append(repair(asked.path, parsed.get("repair"), **wanted, on_finding=tell, mended=mended))
    else:
        reports.append(check.check(asked.path, **wanted, on_finding=tell, begun=begun))
    if parsed.get("image_opts"):
        reports[0] = reports[0]._replace(filename=parsed.operands[0])
    if not parsed.get("quiet"):
        if parsed.get("output") == "json":
            output.out(render.json(reports, steady=not call.as_qemu, chain=chain))
        else:
            for report in reports:
                if chain:
                    output.out(f"image: {printable(report.filename)}\n")
                output.out(render.human(report))
    return worst([render.code(report) for report in reports])


def worst(codes: list[int]) -> int:
    """The exit code of several reports: that a check failed counts most, then corruption, then leaks."""
    for code in (render.FAILED, render.CORRUPT, render.LEAKS):
        if code in codes:
            return code
    return render.CLEAN


TABLE = "snapshot table"
"""What a check of a qcow2 cannot do without, and says so."""


def _teller(call: Call) -> Callable[[Finding], None]:
    """What tells findings. One that ends the check is an error, and no line of the report."""

    def tell(finding: Finding) -> None:
        ended = finding.severity == Severity.NOTE and finding.text.startswith("ERROR ") and TABLE in finding.text
        output.err((f"{call.name}: " if ended else "") + printable(finding.text) + "\n")

    return tell
