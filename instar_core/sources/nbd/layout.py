"""The NBD protocol as data: big-endian. Source: doc/proto.md of the NBD project, whose words are used here."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NBDMAGIC: Final = b"NBDMAGIC"
IHAVEOPT: Final = b"IHAVEOPT"
OLDSTYLE: Final = b"\x00\x00\x42\x02\x81\x86\x12\x53"
"""cliserv magic, where newstyle has IHAVEOPT."""

FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES = 1 << 0, 1 << 1
ZEROES: Final = 124

OPT_EXPORT_NAME, OPT_ABORT, OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT = 1, 2, 7, 8, 10
REP_ACK, REP_INFO, REP_META_CONTEXT = 1, 3, 4
REP_ERROR: Final = 1 << 31
REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_INVALID, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN, REP_ERR_SHUTDOWN = (
    REP_ERROR + number for number in (1, 2, 3, 5, 6, 7)
)
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
REPLY_MAGIC: Final = 0x0003E889045565A9
CONTEXT: Final = b"base:allocation"

OPTION: Final = Struct(">8sII")
"""IHAVEOPT, option, length"""
REPLY: Final = Struct(">QIII")
"""magic, option, type, length"""
EXPORT: Final = Struct(">QH")
"""size, transmission flags"""
OLD_EXPORT: Final = Struct(">QI")
"""size, flags of which the lower half are transmission flags"""
BLOCK_SIZE: Final = Struct(">III")
"""minimum, preferred, maximum payload"""

HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6

CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS = 0, 1, 2, 3, 4, 6, 7
NO_HOLE: Final = 1 << 1
REQUEST: Final = Struct(">IHHQQI")
"""magic, flags, type, cookie, offset, length"""
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_MAGIC: Final = 0x67446698
STRUCTURED_MAGIC: Final = 0x668E33EF
SIMPLE: Final = Struct(">IQ")
"""error, cookie; the magic stands before"""
CHUNK: Final = Struct(">HHQI")
"""flags, type, cookie, length; the magic stands before"""
CHUNK_DONE: Final = 1
CHUNK_NONE, CHUNK_OFFSET_DATA, CHUNK_OFFSET_HOLE, CHUNK_BLOCK_STATUS = 0, 1, 2, 5
CHUNK_ERROR: Final = 1 << 15
HOLE: Final = Struct(">QI")
"""offset, size"""
DESCRIPTOR: Final = Struct(">II")
"""length, status flags"""
FAILURE: Final = Struct(">IH")
"""error, length of the message"""
STATE_ZERO: Final = 1 << 1

ERRORS: Final = {
    1: "Operation not permitted",
    5: "Input/output error",
    12: "Cannot allocate memory",
    22: "Invalid argument",
    28: "No space left on device",
    75: "Value too large for defined data type",
    95: "Operation not supported",
    108: "Cannot send after transport endpoint shutdown",
}
"""The errors of the protocol, which are Linux's numbers on every machine."""
