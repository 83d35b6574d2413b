"""A new ledger disk. The page lies before the content, so that a full disk is as long as was measured."""

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Coding, Geometry, Put, Truncate
from instar_ledger import layout as L
from instar_ledger.hooks import SECRET, cipher
from instar_ledger.page import Page, puts
from instar_ledger.rows import placed
from instar_ledger.space import Space


def edits(request, runs):
    options = request.options
    if request.size > L.BLOCKS * L.BLOCK:
        raise FormatError("ledger disks end at 4 GiB", kind=ErrorKind.UNSUPPORTED)
    secret = options["key-secret"] is not None
    if secret and request.compress:
        raise FormatError("Compression and encryption not supported at the same time", kind=ErrorKind.USAGE)
    if secret and request.keys is None:
        raise FormatError(SECRET, kind=ErrorKind.USAGE)
    page = Page(-(-request.size // L.BLOCK) * L.BLOCK)
    page.label = (options["label"] or "").encode()[: L.NAME]
    if options["backing_file"]:
        name, format = options["backing_file"], options["backing_fmt"] or ""
        page.backing = (name.encode("utf-8", "surrogateescape"), format.encode())
    space = Space({0})
    if secret:
        needed = -(-L.MATERIAL // L.BLOCK)
        page.keys = key_fields(request.keys, space.take(needed, needed)[0])
    blocks = -(-len(page.encode()) // L.BLOCK)
    page.place, _ = space.take(blocks, blocks)
    yield Geometry(
        L.BLOCK,
        page.size,
        zeros=page.backing is not None,
        coding=Coding("zlib", L.BLOCK) if request.compress else None,
        overhead=space.end,
        cipher=cipher() if secret else None,
    )
    for run in runs:
        yield from placed(run, page.table, space, page.backing is not None)
    yield Truncate(space.end)
    if secret:
        yield Put(page.keys[0], request.keys.material[0])
    yield from puts(page.encode(), page.place)


def key_fields(plan, place):
    """The chunk KEYS of a filled key plan."""
    (slot,), check = plan.slots, plan.check
    return (place, slot.params["iterations"], slot.salt, check["iterations"], check["salt"], check["digest"], L.STRIPES)
