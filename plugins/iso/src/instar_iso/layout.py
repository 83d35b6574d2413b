"""The layout of ISO 9660 volumes as data: offsets in bytes, numbers in both byte orders where so called.

Names are those of ECMA-119, 4th edition; its section 8 describes volume descriptors, 9 directory records and path
tables. The boot record is that of the "El Torito" specification, version 1.0.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

LOGICAL_SECTOR = 2048
SECTOR = 512
FIRST = 16 * LOGICAL_SECTOR
"""Where the volume descriptor set begins."""
STANDARD = b"CD001"
EL_TORITO = b"EL TORITO SPECIFICATION"
JOLIET = (b"%/@", b"%/C", b"%/E")
"""Escape sequences of supplementary volume descriptors whose names are in UCS-2."""


class DescriptorType:
    """What the first byte of a volume descriptor says."""

    BOOT = 0
    PRIMARY = 1
    SUPPLEMENTARY = 2
    PARTITION = 3
    TERMINATOR = 255


class Both(NamedTuple):
    """A number that is recorded twice, first with the least significant byte first. It counts as that one says."""

    little: int
    big: int


class Volume(NamedTuple):
    """A primary or supplementary volume descriptor, as far as it matters here."""

    system_identifier: bytes
    volume_identifier: bytes
    volume_space_size: Both
    """Logical blocks of the volume."""
    escape_sequences: bytes
    volume_set_size: Both
    volume_sequence_number: Both
    logical_block_size: Both
    path_table_size: Both
    """Bytes of each path table."""
    type_l_path_table: int
    """Logical block of the path table whose numbers have the least significant byte first; `m`: most."""
    type_m_path_table: int
    root: bytes
    """Directory record of the root directory."""
    publisher_identifier: bytes
    data_preparer_identifier: bytes
    application_identifier: bytes
    creation: bytes
    """Date and time: 16 digits and an offset from Greenwich in quarters of an hour."""


_PARTS = Struct("<8x32s32s8x8s32s4s4s4s8s4s4x4s4x34s128x128s128s128s111x17s")


def volume(data: bytes) -> Volume:
    """The volume descriptor that the 2048 bytes hold."""
    parts = _PARTS.unpack_from(data)
    system, name, space, escapes, count, number, block, size, low, high, root, publisher, preparer, made, when = parts
    return Volume(
        system,
        name,
        both(space),
        escapes,
        both(count),
        both(number),
        both(block),
        both(size),
        int.from_bytes(low, "little"),
        int.from_bytes(high, "big"),
        root,
        publisher,
        preparer,
        made,
        when,
    )


def both(data: bytes) -> Both:
    """The number that the first half of the bytes says, and that of the second half."""
    half = len(data) // 2
    return Both(int.from_bytes(data[:half], "little"), int.from_bytes(data[half:], "big"))


class Record(NamedTuple):
    """A directory record, as far as it matters here: where its data lies, in logical blocks, and how long it is."""

    length: int
    extended: int
    location: Both
    data_length: Both
    flags: int


DIRECTORY = 2
"""Bit of Record.flags."""


def record(data: bytes) -> Record:
    """The directory record that the bytes (34 at least) begin with."""
    return Record(data[0], data[1], both(data[2:10]), both(data[10:18]), data[25])
