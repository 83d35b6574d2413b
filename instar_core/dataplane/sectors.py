"""How the sectors of a coding are numbered."""

from __future__ import annotations

from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Coding
else:
    from instar_core.record import NamedTuple

LARGEST = 64 << 10
"""Bytes of a sector: dm-crypt has none above 4096."""

NUMBERS = (1 << 64) - 1
"""A number is cut to what a vector has room for."""


class Sectors(NamedTuple):
    """Sectors of `unit` bytes, of which each takes `step` numbers, counted from 0.

    They are counted by their place in the device (`by_offset`) or by that on the virtual disk.
    """

    unit: int
    step: int
    by_offset: bool

    def number(self, place: int) -> int:
        """The number of the sector that holds this place."""
        return place // self.unit * self.step & NUMBERS


def sectors(coding: Coding) -> Sectors:
    """The sectors of a coding that works by them.

    Its params may name `by` (start or offset) and `iv_step`: dm-crypt counts in 512 bytes whatever its sectors are, so
    that one of 4096 takes 8 numbers. Raises ContractViolation where these make no sense.
    """
    by, step = coding.params.get("by", "start"), coding.params.get("iv_step", 1)
    if by not in ("start", "offset") or type(step) is not int or not 0 < step <= coding.unit <= LARGEST:
        raise ContractViolation(f"the sectors of {coding.name:.40} cannot be counted")
    return Sectors(coding.unit, step, by == "offset")
