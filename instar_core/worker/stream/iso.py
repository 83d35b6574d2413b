"""The first volume descriptor of an ISO 9660 or UDF volume. Source: ECMA-119, sections 8.1 and 8.4; ECMA-167, 3/9.1."""

from __future__ import annotations

from struct import Struct

from instar_core.worker.stream.words import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

IDENTIFIERS = (b"CD001", b"NSR02", b"NSR03")
PRIMARY = 1
VOLUME_SPACE_SIZE = Struct("<80xI")
LOGICAL_BLOCK_SIZE = Struct("<128xH")
DESCRIPTOR = 2048


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """The size is that of the volume, where the first descriptor is the primary one."""
    header = pieces["header"]
    if not header.done or header.data[1:6] not in IDENTIFIERS:
        return Verdict(False)
    if header.data[0] != PRIMARY or len(header.data) < DESCRIPTOR:
        return Verdict(True)
    (blocks,) = VOLUME_SPACE_SIZE.unpack_from(header.data)
    (size,) = LOGICAL_BLOCK_SIZE.unpack_from(header.data)
    return Verdict(True, blocks * size)
