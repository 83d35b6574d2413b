"""What speaks against an image by what it says of itself: one function for each group of demands, all of them pure."""

from __future__ import annotations

import os

from instar_core import policy
from instar_core.errors import UsageError
from instar_core.partitions import GPT, MBR
from instar_core.settings import DEFAULTS
from instar_core.types import Role
from instar_core.verdict.answer import Code, Reason
from instar_core.verdict.demands import Raw, Soundness
from instar_core.verdict.facts import subformat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.verdict.demands import Demands
    from instar_core.verdict.facts import Facts

ROLES = {Role.BACKING: Code.BACKING, Role.DATA: Code.DATA, Role.EXTENT: Code.EXTENT}
NOUNS = {Role.BACKING: "a backing file", Role.DATA: "a data file", Role.EXTENT: "a further file as extent"}
WITHIN_RAW = ("raw", "iso", "dmg")
"""Formats whose files begin as a raw disk may: their own signature lies behind. A VHD of fixed size is one of them too:
its match is less than certain."""


def reasons(facts: Facts, demands: Demands) -> list[Reason]:
    """All that speaks against the image without a look at what it names."""
    return [found for rule in RULES for found in rule(facts, demands)]


def format(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """It is what it was said to be, that is allowed, and it is nothing else too."""
    name = facts.info.format
    if facts.declared is None:
        if demands.declared:
            yield Reason(Code.UNDECLARED, "it was not declared what format the image is")
    elif facts.declared != name:
        yield Reason(Code.MISMATCH, f"the image was declared to be {facts.declared}, but is {name}")
    yield from allowed(name, demands)
    if name not in WITHIN_RAW and facts.certain and facts.partitions.partitioned:
        yield Reason(
            Code.POLYGLOT,
            f"the file is a {name} image and, as a raw disk, has a partition table ({facts.partitions.name})",
        )


def allowed(name: str, demands: Demands) -> Iterator[Reason]:
    """The format is one of those that are allowed."""
    if demands.formats is not None and name not in demands.formats:
        yield Reason(Code.FORMAT, f"the format {name} is not allowed; {_listed(demands.formats)}")


def raw(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """A raw disk shows that it is one, and its partition table is sound."""
    if facts.info.format != "raw":
        return
    tabled = facts.evidence in (GPT, MBR) or facts.partitions.name == GPT
    if not facts.evidence and (demands.raw != Raw.ANY or facts.declared != "raw"):
        yield Reason(Code.UNKNOWN, "no format claims the file and nothing shows that it is a raw disk")
    elif demands.raw == Raw.PARTITIONS and not (tabled and facts.partitions.partitioned):
        yield Reason(Code.PARTITIONS, "the raw disk has no partition table")
    elif demands.partitions and tabled:
        for text, offset in facts.partitions.problems:
            yield Reason(Code.PARTITIONS, text, offset=offset)


def references(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """It names no file that the image policy does not let it name."""
    rules = DEFAULTS._replace(policy=demands.references)
    for reference in facts.info.references:
        if policy.allowed(reference.role, rules):
            noun = NOUNS[reference.role]
            yield Reason(ROLES[reference.role], f"the image names {noun}: '{os.fsdecode(reference.name)}'")


def vmdk(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """A VMDK image is of a type that is allowed and has as many extents as are."""
    if facts.info.format != "vmdk":
        return
    kind = subformat(facts.info)
    if demands.vmdk_types is not None and kind not in demands.vmdk_types:
        shown = f"'{kind}'" if kind else "that is not told"
        yield Reason(Code.SUBFORMAT, f"a VMDK createType {shown} is not allowed; {_listed(demands.vmdk_types)}")
    extents = facts.info.details.get("extents")
    count = len(extents) if isinstance(extents, tuple | list) else 0
    if demands.extents is not None and (count > demands.extents or not count):
        yield Reason(Code.EXTENTS, f"the image consists of {count} extents", value=count, limit=demands.extents)


def embedded(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """The descriptor inside a sparse VMDK, which other tools go by, says the same as its header, and names no path."""
    told = facts.info.extra.get("embedded-descriptor")
    if facts.info.format != "vmdk" or not isinstance(told, dict):
        return
    kind, lines = str(told.get("create-type", "")), [str(line) for line in told.get("extents", ())]
    if demands.vmdk_types is not None and kind.lower() not in {name.lower() for name in demands.vmdk_types}:
        yield Reason(Code.SUBFORMAT, f"the descriptor inside the image says createType '{kind}'")
    if demands.extents is not None and not 0 < len(lines) <= demands.extents:
        text = f"the descriptor inside the image names {len(lines)} extents"
        yield Reason(Code.EXTENTS, text, value=len(lines), limit=demands.extents)
    if policy.allowed(Role.EXTENT, DEFAULTS._replace(policy=demands.references)):
        for line in lines:
            if "/" in line:
                yield Reason(Code.EXTENT, f"the descriptor inside the image names a path: {line}")


def sizes(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """Its disk and its files are not too large, and the disk has whole sectors."""
    size = facts.info.virtual_size
    if demands.virtual_size is not None and size > demands.virtual_size:
        yield _over(Code.VIRTUAL, "its virtual disk", size, demands.virtual_size)
    if demands.stored_size is not None and facts.stored > demands.stored_size:
        yield _over(Code.STORED, "its file", facts.stored, demands.stored_size)
    if demands.ratio is not None and size > demands.ratio * max(facts.stored, 1):
        times = size // max(facts.stored, 1)
        yield Reason(
            Code.RATIO, f"its virtual disk is {times} times as large as its file", value=times, limit=demands.ratio
        )
    whole = facts.stored if facts.info.format == "raw" else size  # a raw disk is shown in whole sectors
    if whole % demands.alignment:
        text = f"its virtual size of {whole} bytes is no multiple of {demands.alignment}"
        yield Reason(Code.ALIGNMENT, text, value=whole)


def room(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """Its disk fits where it is to go. Raises UsageError where there is no such place."""
    if not demands.room:
        return
    try:
        there = os.statvfs(demands.room)
    except OSError as error:
        raise UsageError(f"room '{demands.room}': {error.strerror}") from None
    free = there.f_bavail * there.f_frsize
    if facts.info.virtual_size >= free:
        yield _over(
            Code.ROOM, f"there is no room for its virtual disk in '{demands.room}': it", facts.info.virtual_size, free
        )


def contents(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """It has nothing in it that is not allowed."""
    info = facts.info
    if info.encrypted and not demands.encrypted:
        yield Reason(Code.ENCRYPTED, "the image is encrypted")
    for code, what, found, most in (
        (Code.SNAPSHOTS, "internal snapshots", info.snapshots, demands.snapshots),
        (Code.BITMAPS, "bitmaps", info.bitmaps, demands.bitmaps),
    ):
        if most is not None and len(found) > most:
            yield Reason(code, f"the image has {len(found)} {what}", value=len(found), limit=most)
    for feature in demands.features:
        name, equals, value = feature.partition("=")
        shown = info.details.get(name)
        if str(shown) == value if equals else shown is True:
            yield Reason(Code.FEATURE, f"the image has the feature {feature}")


def soundness(facts: Facts, demands: Demands) -> Iterator[Reason]:
    """It can be read, and says itself that it is sound."""
    info = facts.info
    if info.blocked and not info.encrypted:
        yield Reason(Code.UNREADABLE, info.blocked)
    if demands.check != Soundness.NONE and info.details.get("corrupt") is True:
        yield Reason(Code.CORRUPT, "the image is marked as corrupt")
    if demands.check == Soundness.LEAKS and info.dirty:
        yield Reason(Code.DIRTY, "the image was not closed cleanly")


RULES = (format, raw, references, vmdk, embedded, sizes, room, contents, soundness)


def _over(code: str, what: str, value: int, limit: int) -> Reason:
    return Reason(code, f"{what} is of {value} bytes, more than {limit}", value=value, limit=limit)


def _listed(names: tuple[str, ...]) -> str:
    return f"allowed are {', '.join(names)}" if names else "none is"
