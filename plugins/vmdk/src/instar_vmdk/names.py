"""Names of the files that an image is divided into, as qemu-img gives them."""

from __future__ import annotations


def extent_name(name: bytes, kind: str, number: int | None = None) -> bytes:
    """x.vmdk gives x-flat.vmdk (no number), x-f001.vmdk, x-s001.vmdk. `kind` is flat, f or s; numbers count from 1."""
    stem, dot, suffix = name.rpartition(b".")
    if not dot:
        stem, suffix = name, b""
    middle = kind.encode() if number is None else b"%s%03d" % (kind.encode(), number)
    return stem + b"-" + middle + dot + suffix
