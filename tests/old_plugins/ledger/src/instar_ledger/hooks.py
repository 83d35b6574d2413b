"""The hooks of the ledger plugin. What only map, check or write need is imported by them."""

import zlib

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Bitmap, Coding, Create, ImageInfo, KeyPlan, KeySlot, Match, Reference, Role, Snapshot
from instar_ledger import layout as L
from instar_ledger import page as pages

SECRET = "Parameter 'key-secret' is required for cipher"


@hookimpl
def instar_probe(view):
    return Match("ledger") if view.head.startswith(L.MAGIC) else None


@hookimpl
def instar_info(image):
    page = pages.read(image)
    backing = page.backing
    coding = cipher() if page.keys else Coding("ledger", L.BLOCK)
    return ImageInfo(
        "ledger",
        page.size,
        L.BLOCK,
        (Reference(Role.BACKING, backing[0], text(backing[1]) or None),) if backing else (),
        (coding,),
        tuple(
            [
                Snapshot(str(number), text(name), 0, time // 10**9, time % 10**9, virtual_size=page.size)
                for number, time, name, _ in page.snapshots
            ]
        ),
        tuple([Bitmap(text(name), granularity, named(flags)) for granularity, flags, name, _ in page.bitmaps]),
        encrypted=page.keys is not None,
        partial=False,
        blocked=SECRET if page.keys else "",
        details={"label": text(page.label)} if page.label else {},
        extra={"page": page.place},
    )


def text(name):
    return name.decode("utf-8", "replace")


def named(flags):
    return ("auto",) * bool(flags & L.ENABLED) + ("in-use",) * bool(flags & L.IN_USE)


def cipher():
    """How content is encrypted: its sectors are numbered by their place on the disk."""
    return Coding("cipher", L.SECTOR, False, {"cipher": L.CIPHER, "key_size": L.KEY_SIZE, "iv_base": 0})


@hookimpl
def instar_map(image, layer, span):
    from instar_ledger.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image):
    from instar_ledger.check import findings

    return findings(image)


@hookimpl
def instar_write(image, request, runs):
    if isinstance(request, Create):
        from instar_ledger.create import edits

        return edits(request, runs)
    from instar_ledger.change import changed

    return changed(image, request, runs)


@hookimpl
def instar_unlock(image):
    page = pages.read(image)
    if not page.keys:
        raise FormatError("the disk is not encrypted", kind=ErrorKind.INVALID)
    place, iterations, salt, check = pages.key_plan_fields(page.keys)
    slot = KeySlot(0, "pbkdf2", {"iterations": iterations}, salt, L.STRIPES, place, L.MATERIAL, L.CIPHER, L.HASH)
    return KeyPlan(L.CIPHER, L.KEY_SIZE, (slot,), (image.main.read(place, L.MATERIAL),), check)


@hookimpl
def instar_seal(image, request):
    if isinstance(request, Create):
        time = {"time": request.options["iter-time"]}
        check = {"hash": L.HASH, "salt": bytes(L.SALT), "digest": bytes(32), **time}
    else:  # the key stays, and so does what it is recognised by
        page = pages.read(image)
        if not page.keys:
            raise FormatError("the disk is not encrypted", kind=ErrorKind.INVALID)
        time = {"time": 1}
        check = pages.key_plan_fields(page.keys)[3]
    slot = KeySlot(0, "pbkdf2", time, bytes(L.SALT), L.STRIPES, 0, L.MATERIAL, L.CIPHER, L.HASH)
    return KeyPlan(L.CIPHER, L.KEY_SIZE, (slot,), (), check)


@hookimpl
def instar_decode(stored):
    try:
        made = zlib.decompressobj().decompress(stored, L.BLOCK)
    except zlib.error as error:
        raise FormatError(f"a block does not decompress: {error}", kind=ErrorKind.CORRUPT) from error
    if len(made) != L.BLOCK:
        raise FormatError(f"a block decompresses to {len(made)} bytes", kind=ErrorKind.CORRUPT)
    return made
