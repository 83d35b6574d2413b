"""What a qcow2 image says of itself: by the words of qemu-img info."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Bitmap, Coding, ImageInfo, Reference, Role
from instar_qcow2 import layout
from instar_qcow2.bitmaps import bitmaps_of
from instar_qcow2.encryption import encrypt_details, image_coding
from instar_qcow2.header import read_header
from instar_qcow2.snapshots import snapshot_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Image, Source
    from instar_qcow2.header import Header

COMPRESSION = {layout.COMPRESSION_ZLIB: ("zlib", "deflate-12"), layout.COMPRESSION_ZSTD: ("zstd", "zstd")}
"""Compression types: qemu's name, and that of the coding."""
METHODS = {layout.CRYPT_AES: "aes", layout.CRYPT_LUKS: "luks"}
"""Encryption methods, as the option that opens an image has them."""


def info(image: Image) -> ImageInfo:
    """All that the metadata tells. Neither the data file nor a key is needed."""
    source = image.main
    checking = bool(image.options.get("check"))
    header = read_header(source, checking=checking)
    _require_method(header, image.options.get("encrypt.format"))
    snapshots = () if checking else tuple(entry.snapshot for entry in snapshot_entries(source, header))
    bitmaps = bitmaps_of(source, header)
    return ImageInfo(
        format="qcow2",
        virtual_size=header.disk_size,
        cluster_size=header.cluster_size,
        references=_references(header),
        codings=_codings(source, header),
        snapshots=() if header.data_file else snapshots,
        bitmaps=bitmaps,
        encrypted=header.crypt_method != layout.CRYPT_NONE,
        dirty=bool(header.incompatible_features & layout.INCOMPAT_DIRTY),
        blocked=_blocked(header),
        details=_details(source, header, bitmaps),
        extra=_extra(header),
    )


def _require_method(header: Header, declared: str | None) -> None:
    """Raises FormatError where the image is not encrypted as the caller says."""
    method = METHODS.get(header.crypt_method)
    if declared in (None, method):
        return
    told = f"Header reported '{method}' encryption format but options specify '{declared}'"
    if method is None:
        told = f"No encryption in image header, but options specified format '{declared}'"
    raise FormatError(told, kind=ErrorKind.USAGE)


def _codings(source: Source, header: Header) -> tuple[Coding, ...]:
    """By number, as map says them: 1 is the compression, 2 the cipher where there is one."""
    compression = Coding(COMPRESSION[header.compression_type][1], header.cluster_size)
    cipher = image_coding(source, header)
    return (compression, cipher) if cipher else (compression,)


def _references(header: Header) -> tuple[Reference, ...]:
    found = []
    if header.backing_file is not None:
        found.append(Reference(Role.BACKING, header.backing_file, header.extensions.backing_format or None))
    if header.data_file and header.extensions.data_file:
        raw = bool(header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW)
        found.append(Reference(Role.DATA, header.extensions.data_file, "raw", {"raw": raw}))
    return tuple(found)


def _blocked(header: Header) -> str:
    """Why content cannot be read, in the words with which qemu refuses to open the image for it."""
    if header.data_file and not header.extensions.data_file:
        return "'data-file' is required for this image"
    if not header.data_file and header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW:
        return "data-file-raw requires a data file"
    if header.crypt_method != layout.CRYPT_NONE:
        return "Parameter 'encrypt.key-secret' is required for cipher"
    return ""


def _details(source: Source, header: Header, bitmaps: tuple[Bitmap, ...]) -> dict[str, Any]:
    details: dict[str, Any] = {"compat": "0.10" if header.version == 2 else "1.1"}
    details["compression-type"] = COMPRESSION[header.compression_type][0]
    details["refcount-bits"] = header.refcount_bits
    if header.crypt_method != layout.CRYPT_NONE:
        details["encrypt"] = encrypt_details(source, header)
    if header.version == 2:
        return details
    details["lazy-refcounts"] = bool(header.compatible_features & layout.COMPAT_LAZY_REFCOUNTS)
    details["corrupt"] = bool(header.incompatible_features & layout.INCOMPAT_CORRUPT)
    details["extended-l2"] = header.extended_l2
    if header.extensions.data_file is not None:
        details["data-file"] = header.extensions.data_file.decode("utf-8", "surrogateescape")
    if header.data_file:
        details["data-file-raw"] = bool(header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW)
    if bitmaps:
        details["bitmaps"] = [
            {"flags": list(bitmap.flags), "name": bitmap.name, "granularity": bitmap.granularity} for bitmap in bitmaps
        ]
    return details


def _extra(header: Header) -> dict[str, Any]:
    return {
        "header-length": header.header_length,
        "l1-entries": header.l1_size,
        "l1-offset": header.l1_table_offset,
        "refcount-table-offset": header.refcount_table_offset,
        "refcount-table-clusters": header.refcount_table_clusters,
        "stale-bitmaps": header.extensions.stale_bitmaps,
    }
