"""How hard content is compressed: the caller's choice, put into the coding that a writer asks for."""

from __future__ import annotations

from instar_core.codecs import EFFORT, FAST, SMALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.types import Geometry

EFFORTS: Final = (FAST, SMALL)


def compressing(geometry: Geometry, effort: str) -> Geometry:
    """The geometry with that effort in its coding, if it has one."""
    coding = geometry.coding
    if coding is None or effort == FAST:
        return geometry
    return geometry._replace(coding=coding._replace(params={**coding.params, EFFORT: effort}))
