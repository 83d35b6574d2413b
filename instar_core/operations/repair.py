"""check -r: what is wrong with an image, mended where its format can."""

from __future__ import annotations

import os
import time

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, registry
from instar_core.device import once_more
from instar_core.errors import ErrorKind, InstarError
from instar_core.launch import CHECKING
from instar_core.operations.check import UNREPAIRED_BY_QEMU, examine
from instar_core.results import CheckReport
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Repair, Role, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.device import Device
    from instar_core.settings import Settings
    from instar_core.types import Finding

MODES = ("leaks", "all")
ROUNDS = 8
"""Most plans for one repair: what is wrong may only be seen when something else is right."""


class Mended:
    """What a first check found that can be mended."""

    def __init__(self, mode: str, told: Callable[[Finding], None] | None) -> None:
        self.mode = mode
        self.told = told
        self.wanted = False
        self.corrupt = False
        """Whether there are corruptions beside the leaks that the mode is about: a format may mend them as well."""
        self.leaks = 0
        self.corruptions = 0

    def note(self, finding: Finding) -> None:
        """The finding counts, if the mode covers it."""
        if self.told is not None:
            self.told(finding)
        if not finding.repairable:
            return
        if self.mode == "leaks" and finding.severity == Severity.CORRUPTION:
            self.corrupt = True
            return
        self.wanted = True
        if finding.severity == Severity.LEAK:
            self.leaks += finding.count
        elif finding.severity == Severity.CORRUPTION:
            self.corruptions += finding.count


def repair(
    path: str,
    mode: str,
    *,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    on_finding: Callable[[Finding], None] | None = None,
    mended: Callable[[CheckReport], None] | None = None,
) -> CheckReport:
    """The image at `path` has no leaks (`mode` leaks) or nothing wrong (all) any more that its format can mend; what a
    check finds then, with the counts of what was mended.

    `on_finding` is told the findings of the check before and of that after; `mended` is called between mending and the
    last check, if there was anything to mend. A stop at any point leaves an image that is no worse. Raises InstarError,
    of kind UNSUPPORTED where the format cannot mend.
    """
    if open_options:
        from instar_core import chosen

        chosen.require_changeable(path, settings, format, open_options)
    plain = {**(open_options or {}), **CHECKING}
    options = {**plain, "repair": mode}
    opened = settings._replace(force_share=True)  # the one lock is that of the descriptor that is written to
    writable = devices.open_named(chains.plain(path), write=True)
    try:
        locks.take(writable, locks.CHANGE)
        found = Mended(mode, on_finding)
        device = once_more(writable)
        with chains.open_chain(path, opened, "check", format=format, options=options, device=device) as top:
            same_file(top.devices[0], writable)
            hidden = settings.as_qemu and top.format in UNREPAIRED_BY_QEMU
            if hidden or Capability.REPAIR not in registry.spec(top.format).capabilities:
                raise InstarError("This image format does not support repairs", kind=ErrorKind.UNSUPPORTED)
            first = examine(top, found.note, settings)
            name = top.format
            marked = top.info.dirty or top.info.details.get("corrupt")
        if not found.wanted and not found.corrupt and not marked:
            return first
        for _ in range(ROUNDS):
            _mend(path, name, Repair(mode, time.time_ns(), os.urandom(64)), writable, opened, options)
            again = Mended(mode, None)
            with chains.open_chain(
                path, opened, "check", format=name, options=plain, device=once_more(writable)
            ) as top:
                last = examine(top, again.note, settings)
            if not again.wanted or (again.leaks, again.corruptions) == (found.leaks, found.corruptions):
                break
        if found.corrupt:
            found.corruptions = max(0, first.corruptions - last.corruptions)
        if not found.wanted and not found.corruptions:
            return first
        if mended is not None:
            mended(first._replace(leaks_fixed=found.leaks, corruptions_fixed=found.corruptions))
        if on_finding is not None and (last.corruptions or last.leaks or last.errors):
            with chains.open_chain(
                path, opened, "check", format=name, options=plain, device=once_more(writable)
            ) as top:
                last = examine(top, on_finding, settings)
        return last._replace(leaks_fixed=found.leaks, corruptions_fixed=found.corruptions)
    finally:
        writable.close()


def same_file(parsed: Device, writable: Device) -> None:
    """Raises InstarError where the file that was parsed is not the one that is written to."""
    if parsed.identity != writable.identity:
        raise InstarError("the image was exchanged while it was opened", path=parsed.path)


def _mend(
    path: str, format: str, request: Repair, writable: Device, settings: Settings, options: Mapping[str, Any]
) -> None:
    from instar_core.dataplane.apply import Bounds, apply

    device = once_more(writable)
    with chains.open_member(path, settings, "write", format=format, options=options, device=device) as member:
        same_file(member.devices[0], writable)
        files = [writable]
        try:
            if any(reference.role == Role.EXTENT for reference in member.info.references):
                for file in member.devices[1:]:
                    files.append(devices.reopen(file, write=True))
                    locks.take(files[-1], locks.CHANGE)
            bounds = Bounds(member.devices, member.info)
            apply(bounds.kept(member.session.edits(format, request)), [file.descriptor for file in files])
        finally:
            for file in files[1:]:
                file.close()
