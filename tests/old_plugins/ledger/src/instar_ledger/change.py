"""Changes of a ledger disk that is there: a new page where nothing lies, then the head, then what was freed."""

from array import array

from instar_core.bits import set_bits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import (
    Amend,
    BitmapEdit,
    Coding,
    Empty,
    Geometry,
    Kind,
    Punch,
    Put,
    Rebase,
    Repair,
    Reserve,
    Resize,
)
from instar_core.types import SnapshotEdit, Truncate, Update, Zero
from instar_ledger import layout as L
from instar_ledger import page as pages
from instar_ledger.check import outside
from instar_ledger.create import key_fields
from instar_ledger.hooks import cipher
from instar_ledger.rows import placed
from instar_ledger.space import Space, used


def changed(image, request, runs):
    """The edits of one change."""
    page = pages.read(image)
    before = used(page)
    space = Space(before)
    if isinstance(request, Update):
        yield from update(page, space, request, runs)
    elif isinstance(request, Resize):
        yield from resize(page, space, request)
    elif isinstance(request, Rebase):
        backing = request.backing
        page.backing = (backing["name"], (backing["format"] or "").encode()) if backing else None
    elif isinstance(request, Empty):
        page.table = array("Q", bytes(8 * len(page.table)))
    elif isinstance(request, SnapshotEdit):
        snapshot(page, request)
    elif isinstance(request, BitmapEdit):
        for action in (request.action, *request.further):
            bitmap(page, request, action, runs)
    elif isinstance(request, Amend):
        yield from amend(page, space, request)
    elif isinstance(request, Repair):
        if not repair(page, request, image.main.size, space.end):
            return
    else:
        raise FormatError("ledger disks cannot be changed in this way", kind=ErrorKind.UNSUPPORTED)
    yield from switched(image, page, space, before)


def switched(image, page, space, before):
    """The page is the current one; what only the old one needed is free."""
    data = page.encode()
    if len(data) > L.PAGE:
        raise FormatError("ledger: a page would be too long", kind=ErrorKind.LIMIT)
    blocks = -(-len(data) // L.BLOCK)
    page.place, _ = space.take(blocks, blocks)
    page.length = len(data)
    yield Truncate(max(image.main.size, space.end))
    yield from pages.puts(data, page.place)
    after = used(page)
    end = Space(after).end
    for number in sorted(before - after):
        if number * L.BLOCK < end:
            yield Punch(number * L.BLOCK, L.BLOCK)
    yield Truncate(end)


def update(page, space, request, runs):
    """Runs are placed where nothing lies; the old content stays until the head is written."""
    if page.keys and request.compress:
        raise FormatError("Compression and encryption not supported at the same time", kind=ErrorKind.USAGE)
    coding = Coding("zlib", L.BLOCK) if request.compress else None
    yield Geometry(L.BLOCK, page.size, True, coding, cipher=cipher() if page.keys else None)
    for run in runs:
        yield from placed(run, page.table, space, page.backing is not None or request.opaque)
        mark(page, run.start, run.start + run.length)


def mark(page, start, end):
    """Every bitmap that is enabled says that the stretch changed."""
    for granularity, flags, _, bits in page.bitmaps:
        if flags & L.ENABLED and not flags & L.IN_USE:
            set_bits(bits, start // granularity, -(-end // granularity))


def resize(page, space, request):
    if page.snapshots:
        raise FormatError("Can't resize a ledger disk which has snapshots", kind=ErrorKind.UNSUPPORTED)
    before, page.size = page.size, -(-request.size // L.BLOCK) * L.BLOCK
    if page.size > L.BLOCKS * L.BLOCK:
        raise FormatError("ledger disks end at 4 GiB", kind=ErrorKind.UNSUPPORTED)
    count = (page.size - before) // L.BLOCK
    for held in page.bitmaps:
        length = pages.words(page.size, held[0])
        held[3] = bytearray(held[3][:length].ljust(length, b"\0"))
    if count <= 0:
        page.table = page.table[: page.size // L.BLOCK]
        return
    entries = [L.ZERO if page.backing else L.ABSENT] * count
    if request.preallocation in ("falloc", "full"):
        if page.keys:
            raise FormatError("Preallocation of encrypted disks is not supported", kind=ErrorKind.UNSUPPORTED)
        place, _ = space.take(count, count)
        entries = range(place, place + count * L.BLOCK, L.BLOCK)
        if request.preallocation == "full":
            yield Reserve(place, count * L.BLOCK, "full")
        else:
            yield Zero(place, count * L.BLOCK)
            yield Reserve(place, count * L.BLOCK)
    page.table.extend(entries)
    mark(page, before, page.size)


def amend(page, space, request):
    if "label" in request.options:
        page.label = (request.options["label"] or "").encode()[: L.NAME]
    if request.opened == () and not request.force:
        raise FormatError("the old secret opens no key slot", kind=ErrorKind.REFUSED)
    if request.keys is not None:
        blocks = -(-L.MATERIAL // L.BLOCK)
        place, _ = space.take(blocks, blocks)
        yield Put(place, request.keys.material[0])
        page.keys = key_fields(request.keys, place)


def snapshot(page, request):
    name = request.name.encode("utf-8", "surrogateescape")
    if request.action == "create":
        if len(page.snapshots) == L.MANY or len(name) > L.NAME:
            raise FormatError(f"ledger disks have at most {L.MANY} snapshots", kind=ErrorKind.LIMIT)
        number = max((one[0] for one in page.snapshots), default=0) + 1
        page.snapshots.append([number, request.time, name, array("Q", page.table)])
        return
    found = [one for one in page.snapshots if one[2] == name]
    if request.action == "apply":
        found = [one for one in page.snapshots if str(one[0]) == request.name] or found
    if not found:
        raise FormatError("snapshot not found", kind=ErrorKind.MISSING)
    if request.action == "apply":
        page.table = array("Q", found[0][3])
        mark(page, 0, page.size)
    else:
        page.snapshots.remove(found[0])


def bitmap(page, request, action, runs):
    if action == "remove-all":
        page.bitmaps.clear()
        return
    name = request.name.encode("utf-8", "surrogateescape")
    found = [one for one in page.bitmaps if one[2] == name]
    if action == "add":
        if found or len(page.bitmaps) == L.MANY or len(name) > L.NAME:
            raise FormatError("no such bitmap can be added", kind=ErrorKind.INVALID)
        granularity = request.granularity or L.BLOCK
        page.bitmaps.append([granularity, L.ENABLED, name, bytearray(pages.words(page.size, granularity))])
        return
    if not found:
        raise FormatError("bitmap not found", kind=ErrorKind.MISSING)
    held = found[0]
    if action == "remove":
        page.bitmaps.remove(held)
    elif action == "clear":
        held[3] = bytearray(len(held[3]))
    elif action == "merge":
        for run in runs:
            if run.kind == Kind.DATA:
                set_bits(held[3], run.start // held[0], -(-(run.start + run.length) // held[0]))
    else:
        held[1] = held[1] | L.ENABLED if action == "enable" else held[1] & ~L.ENABLED


def repair(page, request, size, end):
    """With `all`, what would lie outside the file is zeros. What nothing needs is cut off in any case. False where
    there is nothing to mend."""
    wrong = [(table, number) for table in page.tables for number in outside(table, size)] * (request.mode == "all")
    for table, number in wrong:
        table[number] = L.ZERO
    return bool(wrong) or end < size
