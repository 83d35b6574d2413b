"""Another size of the disk of an image that is there."""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Truncate, Zero
from instar_parallels import limits
from instar_parallels.check import image_end
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import HEADER, OLD_MAGIC, SECTOR
from instar_parallels.update import puts
from instar_parallels.writable import aligned, bare, begun, heading, writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Resize
    from instar_parallels.layout import Header
    from instar_parallels.opening import Disk

PER_TRACK = 32
"""Sectors of a track in the geometry that a guest is shown."""


def resized(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to sectors, from one write of the header on.

    Raises FormatError: UNSUPPORTED for room that is to be made beforehand, USAGE for a size that the format has not.
    """
    source = image.main
    if request.preallocation != "off":
        raise FormatError(f"Unsupported preallocation mode '{request.preallocation}'", kind=ErrorKind.UNSUPPORTED)
    disk = writable(source)
    sectors = -(-request.size // SECTOR)
    entries = -(-sectors // disk.header.tracks)
    most = 0xFFFFFFFF if disk.header.magic == OLD_MAGIC else limits.REACH // SECTOR
    if sectors > most or entries > limits.ENTRIES:
        raise FormatError("The image size is too large for file format 'parallels'", kind=ErrorKind.USAGE)
    yield from begun(disk)
    extended, disk = bool(disk.extension), bare(disk)
    if sectors * SECTOR < disk.size:
        yield from _shorter(source, disk, sectors, entries)
    else:
        # What was the extension's at the end of the file goes with it.
        least = image_end(source, disk) if extended else source.size
        yield from _longer(source, disk, sectors, max(entries, disk.entries), least)


def _sized(header: Header, sectors: int, entries: int, data: int) -> Put:
    per = header.heads * PER_TRACK
    cylinders = min(sectors // per, 0xFFFFFFFF) if per else header.cylinders
    return heading(header, nb_sectors=sectors, bat_entries=entries, cylinders=cylinders, data_off=data // SECTOR)


def _shorter(source: Source, disk: Disk, sectors: int, entries: int) -> Iterator[Edit]:
    """Clusters behind the end of the disk are free, and cut off where they are the file's last."""
    yield _sized(disk.header, sectors, entries, disk.data)
    yield Barrier()
    end = disk.data
    for _, count, where, offset, step in stretches(source, disk, 0, entries):
        if where == Where.INSIDE:
            end = max(end, offset + (count - 1) * step + disk.cluster)
    for _, count, where, offset, step in stretches(source, disk, entries, disk.entries):
        if where == Where.INSIDE:
            yield from _free(offset, count, step, disk.cluster, end)
    if end < source.size:
        yield Truncate(end)
    yield Barrier()


def _free(offset: int, count: int, step: int, cluster: int, end: int) -> Iterator[Punch]:
    """These clusters take no room, as far as they lie before `end`: the rest is cut off. Neighbours go in one."""
    if step == cluster:
        if offset < end:
            yield Punch(offset, min(offset + count * cluster, end) - offset)
        return
    for number in range(count):
        place = offset + number * step
        if place < end:
            yield Punch(place, cluster)


def _longer(source: Source, disk: Disk, sectors: int, entries: int, least: int) -> Iterator[Edit]:
    """The BAT has more entries. Where it has no room for them, the first clusters go behind the last one."""
    need = HEADER.size + 4 * entries
    data = disk.data + max(0, -(-(need - disk.data) // disk.cluster)) * disk.cluster
    yield from _rest_is_zeros(source, disk)
    end = aligned(disk, max(image_end(source, disk), data))
    moved: list[tuple[int, int]] = []
    if data > disk.data:
        for entry, count, where, offset, step in stretches(source, disk, 0, disk.entries):
            for number in range(count if where == Where.INSIDE and offset < data else 0):
                if offset + number * step >= data:
                    break
                # Not from the file, where what lies behind the disk may not be zeros yet.
                inside = min(disk.cluster, max(0, disk.size - (entry + number) * disk.cluster))
                yield from _copied(source, offset + number * step, end, inside)
                if inside < disk.cluster:
                    yield Zero(end + inside, disk.cluster - inside)
                moved.append((entry + number, end))
                end += disk.cluster
    yield Truncate(max(least, end if moved else data))
    yield Barrier()
    for entry, place in moved:
        yield from puts(disk, entry, 1, place)
    if moved:
        yield Barrier()
    if entries > disk.entries:
        yield Zero(HEADER.size + 4 * disk.entries, 4 * (entries - disk.entries))
    yield Barrier()
    yield _sized(disk.header, sectors, entries, data)
    yield Barrier()


def _rest_is_zeros(source: Source, disk: Disk) -> Iterator[Edit]:
    """What the last cluster has behind the end of the disk is zeros, and so are clusters behind that."""
    inside, last = disk.size % disk.cluster, disk.size // disk.cluster
    for entry, count, where, offset, step in stretches(source, disk, last, disk.entries):
        for number in range(count if where == Where.INSIDE else 0):
            skip = inside if entry + number == last else 0
            yield Zero(offset + number * step + skip, disk.cluster - skip)


def _copied(source: Source, offset: int, to: int, length: int) -> Iterator[Edit]:
    for at in range(0, length, core_limits.PUT):
        yield Put(to + at, source.read(offset + at, min(core_limits.PUT, length - at), pad=True))
