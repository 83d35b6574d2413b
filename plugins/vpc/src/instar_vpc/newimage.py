"""Footers, headers and names of new images: the values that qemu-img writes, and for parents those of Hyper-V."""

from __future__ import annotations

from codecs import utf_16_be_encode, utf_16_le_encode

from instar_core.errors import ErrorKind, FormatError
from instar_vpc import limits
from instar_vpc.layout import (
    COOKIE,
    FOOTER,
    FOOTER_CHECKSUM,
    HEADER,
    HEADER_CHECKSUM,
    HEADER_COOKIE,
    HEADER_SIZE,
    LOCATOR,
    LOCATORS_AT,
    NOWHERE,
    SECTOR,
    DiskType,
    Footer,
    Header,
    Locator,
    sealed,
)
from instar_vpc.locators import ABSOLUTE, PREFIX, RELATIVE, URL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_vpc.choices import Choices

VERSION = 0x10000
HEADER_AT = 512
TABLE_AT = 1536
BLOCK = 2 << 20
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
"""Bytes of a path that a URL holds as they are (RFC 3986, "unreserved")."""


def footer(choices: Choices) -> bytes:
    """The footer of a new image."""
    kind = DiskType.FIXED if choices.fixed else DiskType.DIFFERENCING if choices.parent else DiskType.DYNAMIC
    made = Footer(
        cookie=COOKIE,
        features=2,
        file_format_version=VERSION,
        data_offset=NOWHERE if choices.fixed else HEADER_AT,
        time_stamp=choices.time_stamp,
        creator_application=choices.creator,
        creator_version=0x50003,
        creator_host_os=b"Wi2k",
        original_size=choices.size,
        current_size=choices.size,
        cylinders=choices.geometry[0],
        heads=choices.geometry[1],
        sectors=choices.geometry[2],
        disk_type=kind,
        checksum=0,
        unique_id=choices.unique_id,
        saved_state=0,
    )
    return sealed(FOOTER.pack(*made), FOOTER_CHECKSUM)


def header(choices: Choices, entries: int, names_at: int) -> tuple[bytes, bytes]:
    """The dynamic disk header of a new image, and the names of its parent, which are to lie at `names_at`."""
    entry, names, own = parent_locators(choices.parent, names_at) if choices.parent else (b"", b"", b"")
    made = Header(
        cookie=HEADER_COOKIE,
        data_offset=NOWHERE,
        table_offset=TABLE_AT,
        header_version=VERSION,
        max_table_entries=entries,
        block_size=BLOCK,
        checksum=0,
        parent_unique_id=choices.parent_id,
        parent_time_stamp=0,
        parent_unicode_name=own,
    )
    data = HEADER.pack(*made).ljust(LOCATORS_AT, b"\0") + entry
    return sealed(data.ljust(HEADER_SIZE, b"\0"), HEADER_CHECKSUM), names


def parent_locators(parent: bytes, names_at: int) -> tuple[bytes, bytes, bytes]:
    """The parent locators of a header, the names that they point to, which are to lie at `names_at`, and the header's
    own name."""
    entry, names = b"", b""
    for code, data in _names(parent):
        room = -(-len(data) // SECTOR) * SECTOR
        entry += LOCATOR.pack(*Locator(code, room, len(data), names_at + len(names)))
        names += data.ljust(room, b"\0")
    return entry, names, _utf16(parent.rpartition(b"/")[2], utf_16_be_encode)[:510]


def _names(parent: bytes) -> list[tuple[bytes, bytes]]:
    """The parent's name for every platform: an absolute path, or one that counts from the image's folder."""
    absolute = parent.startswith(b"/")
    windows = parent.replace(b"/", b"\\")
    path = parent if absolute else b"./" + parent
    url = PREFIX + b"".join(bytes([each]) if each in PLAIN else b"%%%02X" % each for each in path)
    text = _utf16(windows if absolute else b".\\" + windows, utf_16_le_encode)
    if max(len(text), len(url)) > limits.LOCATOR:
        raise FormatError("the name of the backing file is too long", kind=ErrorKind.USAGE)
    return [(ABSOLUTE if absolute else RELATIVE, text), (URL, url)]


def _utf16(name: bytes, encode: object) -> bytes:
    """A file name in UTF-16. Raises FormatError (USAGE) for one that is not UTF-8."""
    try:
        return encode(name.decode())[0]  # type: ignore[operator, no-any-return]
    except UnicodeDecodeError as error:
        raise FormatError("the name of the backing file is not UTF-8", kind=ErrorKind.USAGE) from error
