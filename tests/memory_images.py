"""Images whose tables are full: every unit of the disk lies in the file, and no content is there.

qemu-img makes the image, and its tables are then filled here: in order, or so that neighbours of the disk never lie
side by side in the file. All sizes are bytes.
"""

from __future__ import annotations

import os
import subprocess

import numpy

KIB, MIB = 1 << 10, 1 << 20
STEP = 1 << 20
"""Entries that are made at once."""
CREATED = {
    "qcow2": ("preallocation=metadata",),
    "vdi": ("static=on",),
    "vhdx": ("subformat=fixed", "block_size=1M"),
    "parallels": ("cluster_size=64k",),
}
"""Options with which qemu-img makes it."""


def make(qemu_img, format, path, size, scattered=False):
    """A new image with all of its disk allocated."""
    options = [word for option in CREATED.get(format, ()) for word in ("-o", option)]
    subprocess.run([qemu_img, "create", "-q", "-f", format, *options, path, str(size)], check=True)
    with open(path, "r+b") as file:
        FILLED[format](file, size, scattered)


def numbers(first, count, scattered):
    """Which unit of the file each of `count` units of the disk is, from the one with the number `first` on."""
    made = numpy.arange(first, first + count, dtype="u8")
    return made ^ 1 if scattered else made


def pieces(count):
    """The numbers 0 up to `count`, in pieces: first and how many."""
    return ((at, min(STEP, count - at)) for at in range(0, count, STEP))


def field(file, offset, length, order):
    file.seek(offset)
    return int.from_bytes(file.read(length), order)


def put(file, offset, values, kind):
    file.seek(offset)
    file.write(values.astype(kind).tobytes())


def _qcow2(file, size, scattered):
    """qemu-img filled it in order already."""
    if not scattered:
        return
    table, count = field(file, 40, 8, "big"), field(file, 36, 4, "big")
    file.seek(table)
    for entry in numpy.frombuffer(file.read(8 * count), ">u8"):
        place = int(entry) & (1 << 56) - 512
        file.seek(place)
        entries = numpy.frombuffer(file.read(64 * KIB), ">u8")
        put(file, place, entries.reshape(-1, 2)[:, ::-1].ravel(), ">u8")


def _vdi(file, size, scattered):
    place = field(file, 0x154, 4, "little")
    for at, count in pieces(-(-size // MIB)):
        put(file, place + 4 * at, numbers(at, count, scattered), "<u4")


def _vhdx(file, size, scattered):
    """Of each chunk, 4096 payload blocks are swapped in pairs; a sector bitmap entry follows them."""
    if not scattered:
        return
    file.seek(192 * KIB)
    regions = file.read(64 * KIB)
    where = regions.index(bytes.fromhex("6677c22d23f600429d64115e9bfd4a08"))
    place = int.from_bytes(regions[where + 16 : where + 24], "little")
    for chunk in range(-(-size // (4096 * MIB))):
        file.seek(place + 8 * 4097 * chunk)
        entries = numpy.frombuffer(file.read(8 * 4096), "<u8")
        put(file, place + 8 * 4097 * chunk, entries.reshape(-1, 2)[:, ::-1].ravel(), "<u8")


def _vpc(file, size, scattered):
    """A block is its sector bitmap and 2 MiB; the footer lies behind all."""
    table, count = field(file, 512 + 16, 8, "big"), -(-size // (2 * MIB))
    file.seek(-512, os.SEEK_END)
    footer = file.read()
    first = -(-(table + 4 * count) // 512)
    for at, some in pieces(count):
        put(file, table + 4 * at, first + numbers(at, some, scattered) * (2 * MIB // 512 + 1), ">u4")
    file.seek(512 * (first + (count + count % 2) * (2 * MIB // 512 + 1)))
    file.write(footer)


def _parallels(file, size, scattered):
    """Entries count clusters; those of the disk begin where the header says."""
    cluster = field(file, 28, 4, "little") * 512
    first, count = -(-field(file, 48, 4, "little") * 512 // cluster), -(-size // cluster)
    for at, some in pieces(count):
        put(file, 64 + 4 * at, first + numbers(at, some, scattered), "<u4")
    file.truncate((first + count + count % 2) * cluster)


def _vmdk(file, size, scattered):
    """Grains of 64 KiB in tables of 512; each table is there twice."""
    grains, grain = -(-size // (64 * KIB)), 128
    end = file.seek(0, os.SEEK_END)
    first = -(-end // (64 * KIB)) * grain
    for directory in (field(file, 48, 8, "little"), field(file, 56, 8, "little")):
        place = field(file, directory * 512, 4, "little") * 512
        for at, some in pieces(grains):
            put(file, place + 4 * at, first + numbers(at, some, scattered) * grain, "<u4")
    file.truncate((first + (grains + grains % 2) * grain) * 512)


def _tables(file, size, scattered, cluster, entries, directory, order, mark):
    """Tables of `entries` entries at the end of the file, clusters of the disk behind them."""
    end = -(-file.seek(0, os.SEEK_END) // cluster) * cluster
    count = -(-size // cluster)
    tables = -(-count // entries)
    length = -(-8 * entries // cluster) * cluster
    put(file, directory, end + numpy.arange(tables, dtype="u8") * length, f"{order}u8")
    first = (end + tables * length) // cluster
    for at, some in pieces(count):
        put(file, end + 8 * at, (first + numbers(at, some, scattered)) * cluster | mark, f"{order}u8")
    file.truncate((first + count + count % 2) * cluster)


def _qed(file, size, scattered):
    cluster, table = field(file, 4, 4, "little"), field(file, 8, 4, "little")
    _tables(file, size, scattered, cluster, cluster * table // 8, field(file, 40, 8, "little"), "<", 0)


def _qcow(file, size, scattered):
    _tables(file, size, scattered, 4 * KIB, 512, field(file, 40, 8, "big"), ">", 0)


FILLED = {
    "qcow2": _qcow2,
    "qed": _qed,
    "qcow": _qcow,
    "vdi": _vdi,
    "vhdx": _vhdx,
    "vpc": _vpc,
    "parallels": _parallels,
    "vmdk": _vmdk,
}


def damage(file, format):
    """Something is wrong with the image that a repair mends."""
    if format == "qcow2":  # clusters that are referred to count as free: a block of refcounts is gone
        file.seek(field(file, 48, 8, "big") + 8)
        block = int.from_bytes(file.read(8), "big")
        file.seek(block or field(file, field(file, 48, 8, "big"), 8, "big") + 512)
        file.write(bytes(64 * KIB if block else 512))
        return
    place, value = DAMAGES[format](file)
    file.seek(*place)
    file.write(value)


DAMAGES = {
    "qed": lambda _: ((16,), b"\2"),  # it was not closed
    "vdi": lambda _: ((0x184,), b"\5\0\0\0"),  # the count of blocks
    "parallels": lambda _: ((44,), b"Yont"),  # it is in use
    "vmdk": lambda file: ((512 * field(file, 512 * field(file, 48, 8, "little"), 4, "little") + 4,), b"\3\0\0\0"),
    "vpc": lambda _: ((-512, os.SEEK_END), b"broken"),
    "vhdx": lambda _: ((192 * KIB + 20,), b"broken"),
}
"""Where and with what: one grain table, one footer, one region table."""
