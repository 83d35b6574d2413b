"""A volume written down from ECMA-119, apart from the plugin: a root directory, one file, both path tables."""

from __future__ import annotations

import struct

SECTOR = 2048


def both(value, width):
    return value.to_bytes(width, "little") + value.to_bytes(width, "big")


def directory(location, length, name, flags):
    record = bytes([0, 0]) + both(location, 4) + both(length, 4) + bytes([126, 11, 21, 13, 0, 0, 0, flags, 0, 0])
    record += both(1, 2) + bytes([len(name)]) + name
    record += bytes(len(record) & 1)
    return bytes([len(record)]) + record[1:]


def image(content=b"content\n" * 300, *, boot=True, trailing=0):
    """16 empty sectors, primary, boot record, terminator, path tables, root directory, boot catalogue, content."""
    root, catalogue, data = 21, 22, 23
    end = data + -(-len(content) // SECTOR)
    table = struct.pack("<BBIH", 1, 0, root, 1) + b"\0\0"
    other = struct.pack(">BBIH", 1, 0, root, 1) + b"\0\0"
    primary = b"\1CD001\1\0" + b"SYSTEM".ljust(32) + b"VOLUME".ljust(32) + bytes(8) + both(end, 4) + bytes(32)
    primary += both(1, 2) + both(1, 2) + both(SECTOR, 2) + both(len(table), 4)
    primary += struct.pack("<II", 19, 0) + struct.pack(">II", 20, 0)
    primary += directory(root, SECTOR, b"\0", 2) + bytes(128).replace(b"\0", b" ") * 4 + b" " * 111
    primary += b"2026112113000000\0" * 4 + b"\1\0"
    record = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(32, b"\0") + bytes(32) + struct.pack("<I", catalogue)
    validation = struct.pack("<BBH24sHBB", 1, 0, 0, b"", 0, 0x55, 0xAA)
    total = sum(struct.unpack("<16H", validation)) & 0xFFFF
    validation = validation[:28] + struct.pack("<H", -total & 0xFFFF) + validation[30:]
    folder = directory(root, SECTOR, b"\0", 2) + directory(root, SECTOR, b"\1", 2)
    folder += directory(data, len(content), b"FILE.;1", 0)
    sectors = [bytes(SECTOR)] * 16 + [primary, record if boot else b"\2CD001\1", b"\xffCD001\1", table, other]
    sectors += [folder, validation + b"\x88".ljust(32, b"\0")]
    made = b"".join(sector.ljust(SECTOR, b"\0") for sector in sectors)
    if not boot:
        made = made[: 17 * SECTOR] + b"\xffCD001\1".ljust(SECTOR, b"\0") + made[18 * SECTOR :]
    return (made + content).ljust(end * SECTOR, b"\0") + b"T" * trailing
