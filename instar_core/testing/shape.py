"""What the answers of hooks must look like, whatever the image."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.testing.law import holds
from instar_core.types import NOWHERE, Extent, Finding, ImageInfo, Kind, Match, Reference, Role, Severity, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

PLAIN = (type(None), bool, int, str, bytes)
REACH = 1 << 63
"""No device is longer."""


def crosses(value: Any, depth: int = 0) -> None:
    """The value is of the types that can leave a sandbox. Raises Broken."""
    holds(depth <= limits.WIRE_DEPTH, "an answer is nested too deeply to leave a sandbox")
    if isinstance(value, dict):
        for key, item in value.items():
            holds(isinstance(key, str), f"an answer has the key {key!r:.60}, which is no text")
            crosses(item, depth + 1)
    elif isinstance(value, tuple | list):
        for item in value:
            crosses(item, depth + 1)
    else:
        holds(isinstance(value, PLAIN), f"an answer holds a {type(value).__name__}, which cannot leave a sandbox")


def match(found: Match | None, format: str) -> None:
    """A probe answers None or a Match of its own format with a certainty of 1 to 100. Raises Broken."""
    if found is not None:
        holds(isinstance(found, Match), f"instar_probe answers a {type(found).__name__}, not Match or None")
        crosses(found)
        holds(found.format == format, f"instar_probe of {format} claims the format {found.format!r}")
        holds(1 <= found.certainty <= 100, f"instar_probe is {found.certainty} % certain")


def info(found: ImageInfo, format: str) -> None:
    """An ImageInfo says possible things in possible types. Raises Broken, or FormatError for what a limit refuses."""
    holds(isinstance(found, ImageInfo), f"instar_info answers a {type(found).__name__}, not an ImageInfo")
    crosses(found)
    holds(found.format == format, f"instar_info of {format} says that the format is {found.format!r}")
    for name, value in (("virtual_size", found.virtual_size), ("cluster_size", found.cluster_size)):
        holds(isinstance(value, int) and value >= 0, f"{name} is {value!r}")
    for many, most in ((found.references, limits.REFERENCES), (found.snapshots, limits.SNAPSHOTS)):
        holds(isinstance(many, tuple), f"a {type(many).__name__} of instar_info should be a tuple")
        if len(many) > most:
            raise FormatError("more than a limit allows", kind=ErrorKind.LIMIT)
    if found.virtual_size > limits.VIRTUAL_SIZE:
        raise FormatError("a disk of this size cannot be", kind=ErrorKind.LIMIT)
    for reference in found.references:
        holds(isinstance(reference, Reference) and isinstance(reference.name, bytes), "names of files are bytes")
        holds(reference.role in (Role.BACKING, Role.DATA, Role.EXTENT), f"no file has the role {reference.role!r}")
    for coding in found.codings:
        holds(0 < coding.unit <= limits.UNIT, f"the coding {coding.name} has a unit of {coding.unit} bytes")


def extents(stream: Iterable[Extent], start: int, length: int, found: ImageInfo, most: int) -> Iterator[Extent]:
    """The same extents, known to ascend, touch and cover, and to be possible one by one; at most so many of them.

    Raises Broken where they are not. A place that no device can have is the image's fault: FormatError.
    """
    at, end = start, start + length
    count = 0
    for extent in islice(stream, most):
        count += 1
        holds(isinstance(extent, Extent), f"instar_map answers a {type(extent).__name__}, not Extents")
        holds(extent.length > 0, f"the extent at {extent.start} has a length of {extent.length}")
        gap = "a gap" if extent.start > at else "an overlap"
        holds(extent.start == at, f"the map has {gap} at {at}: the next extent begins at {extent.start}")
        at += extent.length
        holds(at <= end, f"the map of [{start}, {end}) goes on to {at}")
        _one(extent, found)
        yield extent
    holds(at == end or count == most, f"the map of [{start}, {end}) ends at {at}")


def _one(extent: Extent, found: ImageInfo) -> None:
    _, length, kind, device, offset, stored, coding, skip, flags = extent
    holds(kind in (Kind.DATA, Kind.ZERO, Kind.ABSENT), f"no extent has the kind {kind!r}")
    holds(0 <= flags < 256 and 0 <= device < 1 << 16, f"an extent has flags {flags!r} and device {device!r}")
    if kind != Kind.DATA:
        holds(offset >= NOWHERE, f"an extent without data lies at {offset}")
        holds(not coding and not stored and not skip, "an extent without data is coded")
        return
    holds(offset >= 0, f"a data extent lies at {offset}")
    if offset + max(length, stored) > REACH:
        raise FormatError("beyond any device", kind=ErrorKind.OUT_OF_BOUNDS)
    if not coding:
        holds(not stored and not skip, "a plain extent has a stored length or a skip")
        return
    holds(0 < coding <= len(found.codings), f"an extent has coding {coding}, but {len(found.codings)} were named")
    how = found.codings[coding - 1]
    if how.whole:
        holds(
            skip >= 0 and skip + length <= how.unit, f"an extent of {skip}+{length} is more than a unit of {how.name}"
        )
        holds(stored > 0, "a coded extent has nothing stored")
    else:
        holds(stored == length and not skip, f"an extent coded by sectors stores {stored} bytes for {length}")


def inside(extent: Extent, found: ImageInfo, sizes: list[int]) -> None:
    """The extent of a sound image lies in its device; it may end beyond where the format allows a short last unit."""
    if extent.kind == Kind.DATA:
        holds(extent.device < len(sizes), f"an extent lies in device {extent.device} of {len(sizes)}")
        end, size = extent.offset + (extent.stored if extent.coding else extent.length), sizes[extent.device]
        reach = limits.UNIT if found.partial else 0
        holds(end <= size + reach, f"the extent at {extent.start} ends at {end} of a file of {size} bytes")


def check(stream: Iterable[Finding | Tally], most: int) -> list[Finding]:
    """The findings of a check (at most so many): possible ones, then exactly one Tally. Raises Broken."""
    seen: list[Finding] = []
    tallies = 0
    count = 0
    for found in islice(stream, most):
        count += 1
        crosses(found)
        if isinstance(found, Tally):
            tallies += 1
            continue
        holds(isinstance(found, Finding), f"instar_check answers a {type(found).__name__}")
        holds(not tallies, "instar_check finds something after its tally")
        holds(Severity.NOTE <= found.severity <= Severity.CORRUPTION, f"no finding has severity {found.severity!r}")
        holds(isinstance(found.text, str) and found.text, "a finding says nothing")
        seen.append(found)
    holds(tallies == 1 or count == most, f"instar_check gave {tallies} tallies, not one")
    return seen


def joined(stream: Iterable[Extent], found: ImageInfo) -> list[Extent]:
    """The same map with as few extents as can be: what one extent says and the next goes on with is one."""
    made: list[Extent] = []
    for extent in stream:
        if made and _continues(made[-1], extent, found):
            length = made[-1].length + extent.length
            stored = made[-1].stored if _pieces(extent, found) else length if extent.coding else 0
            made[-1] = made[-1]._replace(length=length, stored=stored)
        else:
            made.append(extent)
    return made


def _start(extent: Extent) -> int:
    return extent.start


def _pieces(extent: Extent, found: ImageInfo) -> bool:
    """Whether the extent stands for a stored piece that decodes alone."""
    return extent.coding > 0 and found.codings[extent.coding - 1].whole


def _continues(one: Extent, other: Extent, found: ImageInfo) -> bool:
    if (one.kind, one.device, one.coding, one.flags) != (other.kind, other.device, other.coding, other.flags):
        return False
    if NOWHERE in (one.offset, other.offset):
        return one.offset == other.offset
    if _pieces(one, found):
        same = (one.offset, one.stored) == (other.offset, other.stored)
        return same and other.skip == one.skip + one.length
    return other.offset == one.offset + one.length


def cut(whole: Sequence[Extent], start: int, length: int, found: ImageInfo) -> list[Extent]:
    """What a map says of a window within it."""
    end = start + length
    made = []
    for extent in islice(whole, max(0, bisect_right(whole, start, key=_start) - 1), None):
        first, last = max(extent.start, start), min(extent.start + extent.length, end)
        if extent.start >= end:
            break
        ahead, size = first - extent.start, last - first
        if _pieces(extent, found):
            made.append(extent._replace(start=first, length=size, skip=extent.skip + ahead))
        else:
            offset = extent.offset if extent.offset == NOWHERE else extent.offset + ahead
            made.append(extent._replace(start=first, length=size, offset=offset, stored=size if extent.coding else 0))
    return made
