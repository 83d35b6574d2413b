"""The second look of inspect: the chain that an image may have, its structure, and how much content it makes of what is
stored."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import launch
from instar_core.launch import Begun
from instar_core.operations import check
from instar_core.session import FormatSession
from instar_core.types import Kind, Layer, Severity, Tally
from instar_core.verdict import judging
from instar_core.verdict.answer import Code, Reason
from instar_core.verdict.demands import Soundness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.settings import Settings
    from instar_core.verdict.demands import Demands
    from instar_core.verdict.facts import Facts
else:
    from instar_core.record import NamedTuple

SHOWN = 10
"""Findings of a check that become reasons of their own."""


class Examined(NamedTuple):
    """What a second look brought: reasons, sizes in bytes of all files, images of the chain, whether it was checked."""

    reasons: tuple[Reason, ...]
    stored: int
    allocated: int
    chain: int
    content: int | None
    checked: bool


def examine(facts: Facts, opened: Device, demands: Demands, settings: Settings) -> Examined:
    """What is found in the image, which was judged by its own file already, and in those below it.

    The very file is read that was judged. Raises InstarError where an image of the chain cannot be read.
    """
    again = devices.reopen(opened)
    try:
        session = launch.start([again], "info", settings, facts.info.format)
    except BaseException:
        again.close()
        raise
    begun = Begun(again, session)
    name, form = facts.filename, facts.info.format
    with chains.open_chain(name, settings, "info", format=form, shallow=True, begun=begun) as top:
        members = top.members()
        found: list[Reason] = []
        if demands.chain is not None and len(members) > demands.chain:
            text = f"its chain has {len(members)} images"
            found.append(Reason(Code.CHAIN, text, value=len(members), limit=demands.chain))
        for member in members[1:]:
            found += [reason._replace(filename=member.path) for reason in judging.allowed(member.format, demands)]
        files = [device for member in members for device in member.devices]
        stored, allocated = sum(each.size for each in files), sum(each.allocated for each in files)
        content, checked = None, False
        if not found:
            for member in members:
                found += structure(member, demands, settings)
            checked = demands.check != Soundness.NONE and check.checkable(top, settings)
        if not found and demands.expansion is not None:
            content = 0
            for member in members:
                content += measured(member, demands.expansion, settings, found)
        return Examined(tuple(found), stored, allocated, len(members), content, checked)


def structure(member: Member, demands: Demands, settings: Settings) -> Iterator[Reason]:
    """What a check of one image finds, as far as it counts. Formats that know no check have nothing."""
    if demands.check == Soundness.NONE or not check.checkable(member, settings):
        return
    least = Severity.LEAK if demands.check == Soundness.LEAKS else Severity.CORRUPTION
    counts = {Code.LEAKS: 0, Code.CORRUPT: 0}
    kept = dict(counts)
    with FormatSession(member.devices, "check", settings, member.format, launch.CHECKING) as session:
        session.info(member.format)
        for found in session.check(member.format):
            if isinstance(found, Tally):
                if found.errors:
                    yield Reason(Code.CORRUPT, f"{found.errors} errors occurred during the check", member.path)
            elif found.severity >= least:
                code = Code.LEAKS if found.severity == Severity.LEAK else Code.CORRUPT
                counts[code] += found.count
                kept[code] += 1
                if kept[code] > SHOWN:
                    continue
                yield Reason(code, found.text, member.path, found.offset if found.offset >= 0 else None)
    for code, what in ((Code.CORRUPT, "errors"), (Code.LEAKS, "leaked clusters")):
        if kept[code] > SHOWN:
            yield Reason(code, f"{counts[code]} {what} in all", member.path, value=counts[code])


def measured(member: Member, expansion: int, settings: Settings, found: list[Reason]) -> int:
    """Bytes of content that one image stores, decoded. Where they are out of proportion, that is put into `found`, and
    they are not counted to the end."""
    stored = sum(device.size for device in member.devices)
    most = max(stored, 1) * expansion
    content = _counted(member, settings, most)
    if content > most:
        text = f"it has more than {expansion} times as much content as its files are long"
        found.append(Reason(Code.EXPANSION, text, member.path, value=content, limit=most))
    return content


def _counted(member: Member, settings: Settings, most: int) -> int:
    content = 0
    with FormatSession(member.devices, "map", settings, member.format) as session:
        info = session.info(member.format)
        for extent in session.map(member.format, info, Layer(), 0, info.virtual_size):
            if extent.kind == Kind.DATA:
                content += extent.length
                if content > most:
                    break
    return content
