"""Minimal qcow2 images (version 3, 64 KiB clusters) built by hand from the specification, names and all.

Layout in clusters: header, refcount table, refcount block, L1 table, L2 table, then the content.
"""

from __future__ import annotations

from struct import pack

CLUSTER = 1 << 16
COPIED = 1 << 63
BACKING_FORMAT, DATA_FILE = 0xE2792ACA, 0x44415441
EXTERNAL = 4
"""Incompatible feature: content lies in an external data file."""


def extension(kind: int, data: bytes) -> bytes:
    """A header extension, padded to eight bytes."""
    return pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def qcow2(
    size: int = 1 << 20,
    *,
    backing: bytes = b"",
    backing_format: str | None = None,
    data_file: bytes | None = None,
    content: bytes = b"",
    mapped: int = 0,
) -> bytes:
    """The bytes of an image of `size` bytes that begins with `content`; the rest is the backing file's.

    With a `data_file` its first `mapped` clusters are the first ones of the disk, and `content` must be empty.
    """
    clusters = -(-len(content) // CLUSTER)
    extensions = b""
    if backing_format is not None:
        extensions += extension(BACKING_FORMAT, backing_format.encode())
    if data_file is not None:
        extensions += extension(DATA_FILE, data_file)
    extensions += extension(0, b"")
    place = 104 + len(extensions) if backing else 0
    header = pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        place,
        len(backing),
        16,
        size,
        0,
        1,
        3 * CLUSTER,
        CLUSTER,
        1,
        0,
        0,
        EXTERNAL if data_file is not None else 0,
        0,
        0,
        4,
        104,
    )
    head = header + extensions + backing
    assert len(head) <= CLUSTER
    entries = [(5 + index) * CLUSTER | COPIED for index in range(clusters)]
    if data_file is not None:
        entries = [index * CLUSTER | COPIED for index in range(mapped)]
    parts = [
        head,
        pack(">Q", 2 * CLUSTER),
        pack(">H", 1) * (5 + clusters),
        pack(">Q", 4 * CLUSTER | COPIED),
        pack(f">{len(entries)}Q", *entries) or bytes(CLUSTER),
        content,
    ]
    return b"".join(part + bytes(-len(part) % CLUSTER) for part in parts)
