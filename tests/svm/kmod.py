"""Modules of the kernel: which file holds one, what it needs, and in which order they load."""

from __future__ import annotations

import gzip
import lzma
import os
import struct

SUFFIXES = (".ko", ".ko.xz", ".ko.gz")


def load_order(wanted: list[str], needs: dict[str, list[str]]) -> list[str]:
    """The modules named and all that they need, each after those that it needs itself. Raises LookupError."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise LookupError(f"the modules need each other: {' -> '.join((*above, name))}")
        if name not in needs:
            raise LookupError(f"there is no module {name}")
        for other in needs[name]:
            visit(other, (*above, name))
        if name not in order:
            order.append(name)

    for name in wanted:
        visit(canonical(name), ())
    return order


def canonical(name: str) -> str:
    """The name of a module as the kernel says it, of its file's or of itself: kvm-amd.ko.xz is kvm_amd."""
    base = os.path.basename(name)
    for suffix in SUFFIXES:
        base = base.removesuffix(suffix)
    return base.replace("-", "_")


def found_in(folder: str) -> dict[str, str]:
    """The file of each module below a folder."""
    return {
        canonical(name): os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES)
    }


def needs_of(name: str, files: dict[str, str]) -> dict[str, list[str]]:
    """What a module needs, what those need, and so on, as the modules themselves say.

    A distribution's package has no modules.dep: that is made where it is installed.
    """
    found: dict[str, list[str]] = {}
    left = [canonical(name)]
    while left:
        one = left.pop()
        if one in files and one not in found:
            found[one] = said_needs(content(files[one]))
            left += found[one]
    return found


def content(path: str) -> bytes:
    """A module as the kernel takes it, which need not know how it was compressed."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    return gzip.decompress(data) if path.endswith(".gz") else data


def said_needs(module: bytes) -> list[str]:
    """The modules that a module says it needs, in its section .modinfo. Raises LookupError."""
    for text in section(module, b".modinfo").split(b"\0"):
        if text.startswith(b"depends="):
            return [canonical(name) for name in text[8:].decode().split(",") if name]
    return []


def section(elf: bytes, wanted: bytes) -> bytes:
    """The bytes of the section of that name, of a 64-bit little-endian ELF file. Raises LookupError."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise LookupError("this is no module of a 64-bit kernel")
    (headers,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    table = [struct.unpack_from("<IIQQQQ", elf, headers + size * index) for index in range(count)]
    names = table[names_index][4]
    for name, _, _, _, offset, length in table:
        if elf[names + name : elf.index(b"\0", names + name)] == wanted:
            return elf[offset : offset + length]
    raise LookupError(f"there is no section {wanted.decode()}")
