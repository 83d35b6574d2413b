"""Changing an image that is there by one write of its header, which is the file's first sector."""

from __future__ import annotations

from instar_core.types import Put
from instar_vdi.layout import FIELDS, HEADER, SECTOR, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Source


class Heading:
    """The header as it is by now. What follows its known fields in the sector is kept."""

    __slots__ = ("_rest", "now")

    def __init__(self, source: Source) -> None:
        sector = source.read(0, SECTOR, pad=True)
        self.now = Header._make(HEADER.unpack(sector))
        self._rest = sector[FIELDS:]

    def put(self, **fields: Any) -> Put:
        """The write by which these fields have these values: all of them or none."""
        self.now = self.now._replace(**fields)
        return Put(0, HEADER.pack(*self.now)[:FIELDS] + self._rest)
