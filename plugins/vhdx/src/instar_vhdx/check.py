"""Checking the structure of a VHDX image.

qemu-img looks at the block allocation table for blocks past the end of the file or over a region; those findings are
told in its words. What it overlooks and makes content wrong or lost is a corruption here too; the rest is a note.
"""

from __future__ import annotations

from instar_core.types import Finding, Severity, Tally
from instar_vhdx.checkblocks import block_findings
from instar_vhdx.header import read_headers
from instar_vhdx.layout import HEADERS, MIB, NO_GUID, REGION_TABLES, guid_text
from instar_vhdx.locator import PATHS, identity
from instar_vhdx.opening import Disk, open_disk
from instar_vhdx.regions import valid_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally without counts, as qemu-img has none for this format.

    Raises FormatError for an image that cannot be opened.
    """
    disk = open_disk(image)
    yield from _log(disk)
    yield from _headers(image)
    yield from _region_tables(disk)
    yield from _metadata(disk)
    yield from block_findings(disk)
    yield Tally()


def _log(disk: Disk) -> Iterator[Finding]:
    header = disk.header
    if disk.replay is not None:
        count = disk.replay.entries
        yield Finding(
            Severity.CORRUPTION,
            f"The log has {count} {'entry' if count == 1 else 'entries'} that must be replayed",
            offset=header.log_offset,
            repairable=True,
        )
    elif header.log_guid != NO_GUID:
        yield _note("The log is in use, but holds nothing that can be replayed", header.log_offset, repairable=True)
    elif not header.log_length or header.log_length % MIB or header.log_offset % MIB or header.log_offset < MIB:
        yield _note(f"The log, {header.log_length} bytes at {header.log_offset}, has no possible place")


def _headers(image: Image) -> Iterator[Finding]:
    for number, header in enumerate(read_headers(image.main)):
        if header is None:
            yield _note(f"Header {number + 1} is damaged", HEADERS[number], repairable=True)


def _region_tables(disk: Disk) -> Iterator[Finding]:
    """A damaged table, of which there are two: qemu-img reads the first only."""
    tables = [valid_table(disk.source, place) for place in REGION_TABLES]
    for number, table in enumerate(tables):
        if table is None:
            severity = Severity.NOTE if number else Severity.CORRUPTION
            yield Finding(
                severity, f"Region table {number + 1} is damaged", offset=REGION_TABLES[number], repairable=True
            )
    if None not in tables and tables[0] != tables[1]:
        yield _note("The two region tables differ", REGION_TABLES[1])
    for region in disk.regions:
        if region.end > disk.source.size:
            yield _note(f"The region {guid_text(region.guid)} is not inside the file", region.offset)
        if region.length % MIB:
            yield _note(f"The region {guid_text(region.guid)} has {region.length} bytes, no whole MiB", region.offset)


def _metadata(disk: Disk) -> Iterator[Finding]:
    metadata = disk.metadata
    if metadata.physical not in (512, 4096):
        yield _note(f"Physical sectors of {metadata.physical} bytes are not possible")
    if not metadata.parent:
        return
    locator = metadata.locator
    second = locator.get("parent_linkage2")
    if identity(locator.get("parent_linkage", "")) is None or (second is not None and identity(second) is None):
        yield Finding(Severity.CORRUPTION, "The parent locator does not identify the parent")
    if not any(locator.get(key) for key in PATHS):
        yield Finding(Severity.CORRUPTION, "The parent locator names no path")


def _note(text: str, offset: int = -1, *, repairable: bool = False) -> Finding:
    return Finding(Severity.NOTE, text, offset=offset, repairable=repairable)
