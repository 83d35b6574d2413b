"""The volume descriptor set: reading it, as far as it goes. ECMA-119, section 8."""

from __future__ import annotations

from instar_iso import limits
from instar_iso.layout import FIRST, LOGICAL_SECTOR, STANDARD, DescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Descriptor(NamedTuple):
    """One volume descriptor: where it lies, and its 2048 bytes."""

    offset: int
    data: bytes

    @property
    def type(self) -> int:
        """One of DescriptorType, or another number."""
        return self.data[0]


class DescriptorSet(NamedTuple):
    """The descriptors up to the terminator, without it; `terminated` tells whether there was one."""

    descriptors: tuple[Descriptor, ...]
    terminated: bool

    @property
    def primary(self) -> Descriptor | None:
        """The first primary volume descriptor."""
        for found in self.descriptors:
            if found.type == DescriptorType.PRIMARY:
                return found
        return None


def read_set(source: Source) -> DescriptorSet:
    """The descriptors that stand at their place one after the other. Never raises for what they hold."""
    made: list[Descriptor] = []
    for number in range(limits.DESCRIPTORS):
        offset = FIRST + number * LOGICAL_SECTOR
        data = source.read(offset, LOGICAL_SECTOR, pad=True)
        if data[1:6] != STANDARD:
            break
        if data[0] == DescriptorType.TERMINATOR:
            return DescriptorSet(tuple(made), True)
        made.append(Descriptor(offset, data))
    return DescriptorSet(tuple(made), False)
