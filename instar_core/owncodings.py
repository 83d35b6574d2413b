"""Codings that the core lacks are tied to the plugin that named them: its own hook decodes them."""

from __future__ import annotations

from instar_core import registry
from instar_core.codecs import CODINGS, PLUGIN
from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.types import Coding, ImageInfo


def tied(info: ImageInfo) -> ImageInfo:
    """The image, its codings that only its plugin knows with that plugin in their params, whatever stood there.

    Raises ContractViolation for one that works by sectors: only whole pieces are decoded by plugins.
    """
    if all(coding.name in CODINGS for coding in info.codings):
        return info
    return info._replace(codings=tuple([_tied(coding, info.format) for coding in info.codings]))


def _tied(coding: Coding, format: str) -> Coding:
    if coding.name in CODINGS:
        return coding
    if not coding.whole:
        raise ContractViolation(f"the coding {coding.name:.40} works by sectors, and the core does not know it")
    return coding._replace(params={**coding.params, PLUGIN: (format, registry.values()[format])})
