"""Changing options of an image in place: version, refcounts, size, what the header names, and key slots.

Sources: docs/interop/qcow2.txt of QEMU; LUKS1 On-Disk Format Specification 1.2.3.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import amend as luks_amend
from instar_core.types import Resize
from instar_qcow2 import encryption, layout, limits
from instar_qcow2.header import read_header
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.overlay import Overlay
from instar_qcow2.refcount_width import change_width, fits
from instar_qcow2.rehead import rewriting
from instar_qcow2.resize import SECTOR, resize
from instar_qcow2.shadow import KEPT
from instar_qcow2.snapshot_edit import refuse
from instar_qcow2.version import downgrade, refuse_downgrade, upgrade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NamedTuple

    from instar_core.luks1.header import Header as LuksHeader
    from instar_core.source import Image
    from instar_core.types import Amend, Edit, KeyPlan
    from instar_qcow2.header import Header

    Step = Callable[[Image, Header], Iterator[Edit]]
else:
    from instar_core.record import NamedTuple

PREFIX = "encrypt."


VERSIONS = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
NEWER = "compatibility level 1.1 or above (use compat=1.1 or greater)"


class Wanted(NamedTuple):
    """What the image is to be, all options decided; None where nothing changes."""

    version: int
    refcount_bits: int | None
    fields: dict[str, int]
    data_file: bytes | None
    size: int | None


def amend(image: Image, request: Amend) -> Iterator[Edit]:
    """The options hold. Each step of it, and each phase of a step, leaves the state before it or after it.

    Raises FormatError in qemu's words, before anything is changed.
    """
    header = read_header(image.main)
    refuse(header)
    wanted = decided(image, header, request)
    slots = any(name.startswith(PREFIX) for name in request.options)
    found = amended_header(image, request) if slots else None
    steps = [each for each in _steps(request, header, wanted) if each is not None]
    if found is not None:
        base, _ = encryption.place(header)
        steps.insert(0, lambda _, __: luks_amend.edits(found, request, base, prefix=PREFIX))
    bits = wanted.refcount_bits
    if bits is not None and len(steps) > 1:
        fits(header, HostClusters(image.main, header), bits)
    overlay = Overlay(image.main)
    for left, step in zip(reversed(range(len(steps))), steps, strict=True):
        now = overlay.image(image)
        edits = step(now, read_header(now.main))
        yield from overlay.noted(edits) if left else edits


def _steps(request: Amend, header: Header, wanted: Wanted) -> Iterator[Step | None]:
    """What is done one after the other, on the image as the last one left it.

    New refcounts are the most that is written: they come after all that can come before them, as what a step writes is
    held in memory for those that follow.
    """
    yield (lambda now, head: upgrade(now.main, head)) if wanted.version > header.version else None
    renamed = wanted.fields or wanted.data_file is not None
    yield (lambda now, head: rename(now, head, wanted)) if renamed else None
    if wanted.size is not None:
        sized = Resize(wanted.size, "off", request.time, request.entropy, request.below)
        yield lambda now, _: resize(now, sized)
    bits = wanted.refcount_bits
    yield (lambda now, head: change_width(now.main, head, bits)) if bits is not None else None
    yield (lambda now, head: downgrade(now.main, head)) if wanted.version < header.version else None


def decided(image: Image, header: Header, request: Amend) -> Wanted:
    """The options, checked together. Raises FormatError."""
    options = request.options
    version = header.version
    if (level := options.get("compat")) is not None:
        if level not in VERSIONS:
            raise FormatError(f"Unknown compatibility level {level}")
        version = VERSIONS[level]
    if options.get("backing_file") is not None or options.get("backing_fmt") is not None:
        raise FormatError("Cannot amend the backing file")
    data_file = named(header, options.get("data_file"))
    fields = raw_field(header, request)
    bits = width(header, options.get("refcount_bits"), version)
    fields.update(lazy_field(header, request, version))
    size = options.get("size") or None
    if size is not None and size % SECTOR:
        raise FormatError("The new size must be a multiple of 512")
    if version < header.version:
        if bits not in (None, 16) or (bits is None and header.refcount_bits != 16):
            raise FormatError("compat=0.10 requires refcount_bits=16", kind=ErrorKind.UNSUPPORTED)
        refuse_downgrade(image.main, header, header.disk_size if size is None else size)
    return Wanted(version, bits, fields, data_file, size)


def named(header: Header, name: str | None) -> bytes | None:
    """The data file's name as it will be stored, empty for none. Raises FormatError."""
    if name is None:
        return None
    if not header.data_file:
        raise FormatError("data-file can only be set for images that use an external data file")
    stored = name.encode("utf-8", "surrogateescape")
    if len(stored) > limits.DATA_FILE_NAME:
        raise FormatError("External data file name too long", kind=ErrorKind.LIMIT)
    return stored


def raw_field(header: Header, request: Amend) -> dict[str, int]:
    """The feature bits that change with data_file_raw. Raises FormatError."""
    raw = request.options.get("data_file_raw")
    is_raw = bool(header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW)
    if raw and not is_raw:
        raise FormatError("data-file-raw cannot be set on existing images")
    if raw is False and is_raw:
        return {"autoclear_features": header.autoclear_features & layout.AUTOCLEAR_BITMAPS}
    return {}


def lazy_field(header: Header, request: Amend, version: int) -> dict[str, int]:
    """The feature bits that change with lazy_refcounts. Raises FormatError."""
    lazy = request.options.get("lazy_refcounts")
    is_lazy = bool(header.compatible_features & layout.COMPAT_LAZY_REFCOUNTS)
    if lazy and version < 3:
        raise FormatError(
            "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)"
        )
    if lazy is not None and lazy != is_lazy:
        return {"compatible_features": header.compatible_features ^ layout.COMPAT_LAZY_REFCOUNTS}
    return {}


def width(header: Header, bits: int | None, version: int) -> int | None:
    """The width of the refcounts in bits, None where it stays. Raises FormatError."""
    if bits is None:
        return None
    if bits <= 0 or bits & bits - 1 or bits > 1 << limits.REFCOUNT_ORDER:
        raise FormatError("Refcount width must be a power of two and may not exceed 64 bits")
    if bits == header.refcount_bits:
        return None
    if version < 3 and bits != 16:
        raise FormatError(f"Refcount widths other than 16 bits require {NEWER}")
    return bits


def rename(image: Image, header: Header, wanted: Wanted) -> Iterator[Edit]:
    """The header has the feature bits and names the data file."""
    names: dict[int, bytes | None] = {}
    if wanted.data_file is not None:
        names[layout.EXT_DATA_FILE] = wanted.data_file or None
    fields = {"autoclear_features": header.autoclear_features & KEPT, **wanted.fields}
    yield from rewriting(image.main, header, fields=fields, extensions=names).edits()


def order(found: LuksHeader, request: Amend) -> KeyPlan:
    """The key slot that the request adds, to be filled."""
    return luks_amend.order(found, request.options, PREFIX, force=request.force)


def amended_header(image: Image, request: Amend) -> LuksHeader:
    """The LUKS header that the request changes. Raises FormatError where there is none, or nothing may be changed."""
    header = read_header(image.main)
    refuse(header)
    if header.crypt_method == layout.CRYPT_NONE:
        raise FormatError("Can't amend encryption options - encryption not present")
    if header.crypt_method != layout.CRYPT_LUKS:
        raise FormatError("Only LUKS encryption options can be amended")
    found = encryption.luks_header(image.main, header)
    base, length = encryption.place(header)
    if any(slot.offset + found.material_size > length for slot in found.slots):
        raise FormatError("Request for data outside of extension header", offset=base)
    return found
