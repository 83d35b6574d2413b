"""check: whether the structure of an image is sound."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import registry
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError
from instar_core.launch import CHECKING
from instar_core.results import CheckReport
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Finding, Severity, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.launch import Begun
    from instar_core.settings import Settings

UNCHECKED_BY_QEMU = frozenset({"vpc", "qcow", "luks", "dmg", "bochs", "cloop", "iso"})
UNREPAIRED_BY_QEMU = UNCHECKED_BY_QEMU | {"vmdk", "vdi"}
"""Formats that instar can check, or mend, and qemu-img cannot."""

KEPT = 1000
"""Findings that a report holds when nobody takes them as they come."""


def check(
    path: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    on_finding: Callable[[Finding], None] | None = None,
    begun: Begun | None = None,
) -> CheckReport:
    """What is wrong with the image at `path`: counts as qemu-img gives them, and every finding as it comes.

    The images below it must be there, but are not checked. Raises InstarError, of kind UNSUPPORTED where the format
    knows no check. `open_options` are as in info. `begun` is what launch.begin made of the same path, settings and
    format for "check" with the options CHECKING.
    """
    options = {**(open_options or {}), **CHECKING}
    with chains.open_chain(path, settings, "check", format=format, options=options, begun=begun) as top:
        return examine(top, on_finding, settings)


def check_chain(
    path: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    on_finding: Callable[[Finding], None] | None = None,
) -> Iterator[CheckReport]:
    """A report for the image and for every image below it whose format can be checked, top first."""
    with chains.open_chain(path, settings, "check", format=format, options={**(open_options or {}), **CHECKING}) as top:
        for member in top.members():
            if checkable(member, settings) or member is top:
                yield examine(member, on_finding, settings)


def checkable(member: Member, settings: Settings) -> bool:
    """Whether the image's format knows a check."""
    if settings.as_qemu and member.format in UNCHECKED_BY_QEMU:
        return False
    return Capability.CHECK in registry.spec(member.format).capabilities


def examine(member: Member, on_finding: Callable[[Finding], None] | None, settings: Settings) -> CheckReport:
    """The report on one open image."""
    if not checkable(member, settings):
        raise InstarError("This image format does not support checks", kind=ErrorKind.UNSUPPORTED)
    counts = {Severity.NOTE: 0, Severity.LEAK: 0, Severity.CORRUPTION: 0}
    kept: list[Finding] = []
    tally: Tally | None = None
    try:
        for found in member.session.check(member.format):
            if isinstance(found, Tally):
                tally = found
                continue
            counts[found.severity] += found.count
            if on_finding is not None:
                on_finding(found)
            elif len(kept) < KEPT:
                kept.append(found)
    except FormatError as error:
        error.message = f"Check failed: {error.message}"
        raise
    if tally is None:
        raise ContractViolation(f"the plugin {member.format} ended a check without its tally")
    return CheckReport(
        member.path,
        member.format,
        counts[Severity.CORRUPTION],
        counts[Severity.LEAK],
        tally.errors,
        tally.total,
        tally.allocated,
        tally.fragmented,
        tally.compressed,
        tally.end,
        tuple(kept),
    )
