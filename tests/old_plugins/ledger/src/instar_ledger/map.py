"""Where the content of a ledger disk lies."""

from instar_core.bits import dirty_extents, set_runs
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind
from instar_ledger import layout as L
from instar_ledger import page as pages


def extents(image, layer, span):
    page = pages.read(image)
    if layer.kind == LayerKind.BITMAP:
        return dirty(page, layer.id, span)
    encrypted = page.keys is not None
    return joined(pieces(table_of(page, layer), span, encrypted), encrypted)


def table_of(page, layer):
    if layer.kind == LayerKind.ACTIVE:
        return page.table
    for number, _, _, table in page.snapshots:
        if str(number) == layer.id:
            return table
    raise FormatError(f"there is no snapshot {layer.id}", kind=ErrorKind.MISSING)


def pieces(table, span, encrypted):
    """An extent for each block."""
    at, end = span.start, span.start + span.length
    while at < end:
        entry, skip = table[at // L.BLOCK], at % L.BLOCK
        length = min(L.BLOCK - skip, end - at)
        sectors = entry & L.SECTORS
        place = entry - sectors
        if entry == L.ABSENT:
            yield Extent(at, length, Kind.ABSENT)
        elif entry == L.ZERO:
            yield Extent(at, length, Kind.ZERO)
        elif encrypted:
            yield Extent(at, length, Kind.DATA, 0, place + skip, length, 1)
        elif sectors:
            yield Extent(at, length, Kind.DATA, 0, place, sectors * L.SECTOR, 1, skip)
        else:
            yield Extent(at, length, Kind.DATA, 0, place + skip)
        at += length


def joined(stream, encrypted):
    """The same extents; those that go on where the one before ends are one. A compressed block stays one extent."""
    last = None
    for extent in stream:
        if last is not None and goes_on(last, extent, encrypted):
            length = last.length + extent.length
            last = last._replace(length=length, stored=length if last.stored else 0)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last


def goes_on(one, other, encrypted):
    if (one.kind, one.coding) != (other.kind, other.coding) or (one.coding and not encrypted):
        return False
    return one.offset == NOWHERE or other.offset == one.offset + one.length


def dirty(page, name, span):
    for granularity, flags, own, bits in page.bitmaps:
        if own.decode("utf-8", "replace") == name:
            if flags & L.IN_USE:
                raise FormatError(f"the bitmap {name} was not stored at the end", kind=ErrorKind.CORRUPT)
            stretches = ((at * granularity, (at + count) * granularity) for at, count in set_runs(bytes(bits)))
            return dirty_extents(stretches, span)
    raise FormatError(f"there is no bitmap {name}", kind=ErrorKind.MISSING)
