"""check as text."""

from __future__ import annotations

from instar_core.cli.jsontext import pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.results import CheckReport

CLEAN, FAILED, CORRUPT, LEAKS = 0, 1, 2, 3
"""Exit codes."""


def code(report: CheckReport) -> int:
    """The exit code that qemu-img gives to such a report."""
    if report.errors:
        return FAILED
    if report.corruptions:
        return CORRUPT
    return LEAKS if report.leaks else CLEAN


def as_object(report: CheckReport, *, steady: bool) -> dict[str, Any]:
    """The report by qemu's names. With `steady` every count is there; else, as in qemu-img, what is not 0."""
    made: dict[str, Any] = {
        "filename": report.filename,
        "format": report.format,
        "check-errors": report.errors,
        "corruptions": report.corruptions,
        "leaks": report.leaks,
        "total-clusters": report.total,
        "allocated-clusters": report.allocated,
        "fragmented-clusters": report.fragmented,
        "compressed-clusters": report.compressed,
        "image-end-offset": report.end,
    }
    made.update({"leaks-fixed": report.leaks_fixed} if report.leaks_fixed else {})
    made.update({"corruptions-fixed": report.corruptions_fixed} if report.corruptions_fixed else {})
    return made if steady else {key: value for key, value in made.items() if value or key == "check-errors"}


def json(reports: list[CheckReport], *, steady: bool, chain: bool = False) -> str:
    """One object, or with `chain` a list of them."""
    made = [as_object(report, steady=steady) for report in reports]
    return pretty(made if chain else made[0]) + "\n"


def mended(report: CheckReport) -> str:
    """What is said between mending an image and checking it once more."""
    return (
        "The following inconsistencies were found and repaired:\n\n"
        f"    {report.leaks_fixed} leaked clusters\n"
        f"    {report.corruptions_fixed} corruptions\n\n"
        "Double checking the fixed image now...\n"
    )


def human(report: CheckReport) -> str:
    """Sentences for people."""
    lines = []
    if not (report.errors or report.corruptions or report.leaks):
        lines.append("No errors were found on the image.")
    if report.corruptions:
        lines += ["", f"{report.corruptions} errors were found on the image."]
        lines.append("Data may be corrupted, or further writes to the image may corrupt it.")
    if report.leaks:
        lines += ["", f"{report.leaks} leaked clusters were found on the image."]
        lines.append("This means waste of disk space, but no harm to data.")
    if report.errors:
        lines += ["", f"{report.errors} internal errors have occurred during the check."]
    if report.total and report.allocated:
        lines.append(
            f"{report.allocated}/{report.total} = {report.allocated * 100 / report.total:.2f}% allocated, "
            f"{report.fragmented * 100 / report.allocated:.2f}% fragmented, "
            f"{report.compressed * 100 / report.allocated:.2f}% compressed clusters"
        )
    if report.end:
        lines.append(f"Image end offset: {report.end}")
    return "\n".join(lines) + "\n"
