"""What the options of create ask for."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vpc import SUBFORMATS, limits
from instar_vpc.geometry import MAXIMUM, MAXIMUM_SECTORS, geometry_for
from instar_vpc.layout import EPOCH, SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.types import Create
else:
    from instar_core.record import NamedTuple

TOO_LARGE = "The image size is too large for file format 'vpc'"
NANO = 1_000_000_000


class Choices(NamedTuple):
    """A new image's parameters. `size` is bytes, a multiple of 512; `parent` is empty for none."""

    size: int
    fixed: bool
    geometry: tuple[int, int, int]
    creator: bytes
    time_stamp: int
    unique_id: bytes
    parent: bytes = b""
    parent_id: bytes = bytes(16)


def chosen(request: Create) -> Choices:
    """What `request` asks for. Raises FormatError (USAGE), in qemu's words, for what cannot be had.

    Without force_size the disk is as large as the smallest geometry that holds it. A disk over a parent has the
    parent's size, so its size is always exact.
    """
    options = request.options
    subformat = options.get("subformat") or SUBFORMATS[0]
    if subformat not in SUBFORMATS:
        raise FormatError(f"Parameter 'subformat' does not accept value '{subformat}'", kind=ErrorKind.USAGE)
    parent = _parent(request)
    if parent and subformat == "fixed":
        raise FormatError("A fixed image can't have a backing file", kind=ErrorKind.USAGE)
    sectors = -(-request.size // SECTOR)
    exact = bool(options.get("force_size"))
    made = MAXIMUM if exact else geometry_for(sectors) if sectors else (0, 0, 0)
    have = made[0] * made[1] * made[2]
    if parent and have != sectors:
        exact, made, have = True, MAXIMUM, MAXIMUM_SECTORS
    if have != MAXIMUM_SECTORS:
        sectors = have
    elif sectors > limits.SECTORS:
        raise FormatError(TOO_LARGE, kind=ErrorKind.USAGE)
    return Choices(
        size=sectors * SECTOR,
        fixed=subformat == "fixed",
        geometry=made,
        creator=b"qem2" if exact else b"qemu",
        time_stamp=max(0, request.time // NANO - EPOCH) & 0xFFFFFFFF,
        unique_id=_random_id(request.entropy),
        parent=parent,
        parent_id=parent_id(request.backing or {}) if parent else bytes(16),
    )


def _parent(request: Create) -> bytes:
    """The parent's name as it is to be stored. Raises FormatError (USAGE) for a parent of another format."""
    given, options = request.backing or {}, request.options
    name = given.get("name") or options.get("backing_file") or b""
    return stored_name(name, given.get("format") or options.get("backing_fmt"))


def stored_name(name: str | bytes, kind: str | None) -> bytes:
    """The name of a parent of this format as it is stored. Raises FormatError (USAGE)."""
    if kind not in (None, "vpc"):
        raise FormatError("backing_file must be a vpc image", kind=ErrorKind.USAGE)
    name = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)
    if b"\\" in name:
        raise FormatError("a name with a backslash cannot be that of a parent", kind=ErrorKind.USAGE)
    return name


def parent_id(given: Mapping[str, Any]) -> bytes:
    """The parent's unique identifier, as its own info says it; zeros where nobody looked."""
    told = given.get("identity") or ""
    try:
        made = bytes.fromhex(str(told).replace("-", ""))
    except ValueError:
        made = b""
    return made if len(made) == 16 else bytes(16)


def _random_id(entropy: bytes) -> bytes:
    """A random identifier (RFC 9562, version 4)."""
    made = bytearray(entropy[:16].ljust(16, b"\0"))
    made[6] = made[6] & 0x0F | 0x40
    made[8] = made[8] & 0x3F | 0x80
    return bytes(made)
