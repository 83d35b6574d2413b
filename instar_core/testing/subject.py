"""The format under test: its FormatSpec, and its hooks called as pluggy calls them."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import pluggy

from instar_core import hookspecs
from instar_core.testing.law import Broken
from instar_core.types import GROUP, FormatSpec, Layer, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from instar_core.source import Image
    from instar_core.types import (
        Edit,
        Extent,
        Finding,
        Geometry,
        ImageInfo,
        KeyPlan,
        Match,
        ProbeView,
        Run,
        Tally,
        WriteRequest,
    )

ACTIVE = Layer()


def load_spec(format: str) -> FormatSpec:
    """The FormatSpec that the one installed distribution with this format offers. Raises Broken."""
    found = {
        (point.value, point.dist.name if point.dist else "?"): point
        for point in importlib.metadata.entry_points(group=GROUP, name=format)
    }
    if not found:
        raise Broken(f"no installed distribution has an entry point {format!r} in the group {GROUP}")
    if len(found) > 1:
        raise Broken(f"several distributions offer {format!r}: {', '.join(sorted(name for _, name in found))}")
    (point,) = found.values()
    spec = point.load()
    if not isinstance(spec, FormatSpec):
        raise Broken(f"{point.value} is not a FormatSpec")
    return spec


class Subject:
    """A format: its spec and its hooks. The hooks answer as pluggy has them answer; streams come back as iterators."""

    __slots__ = ("hook", "module", "spec")

    def __init__(self, spec: FormatSpec) -> None:
        self.spec = spec
        self.module = importlib.import_module(spec.hooks)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.module, spec.name)
        self.hook: Any = manager.hook

    def implements(self, name: str) -> bool:
        """Whether the plugin has this hook."""
        return bool(getattr(self.hook, name).get_hookimpls())

    def can(self, *capabilities: str) -> bool:
        """Whether the format claims all of these."""
        return self.spec.capabilities.issuperset(capabilities)

    def probe(self, view: ProbeView) -> Match | None:
        """The plugin's claim on a file."""
        match: Match | None = self.hook.instar_probe(view=view)
        return match

    def info(self, image: Image) -> ImageInfo:
        """What the image says of itself."""
        info: ImageInfo = self.hook.instar_info(image=image)
        return info

    def map(self, image: Image, start: int, length: int, layer: Layer = ACTIVE) -> Iterator[Extent]:
        """The plugin's extents of a window."""
        extents: Iterable[Extent] = self.hook.instar_map(image=image, layer=layer, span=Span(start, length))
        return iter(extents)

    def check(self, image: Image) -> Iterator[Finding | Tally]:
        """The plugin's findings."""
        found: Iterable[Finding | Tally] = self.hook.instar_check(image=image)
        return iter(found)

    def write(self, image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
        """The plugin's side of a change."""
        edits: Iterable[Geometry | Edit] = self.hook.instar_write(image=image, request=request, runs=runs)
        return iter(edits)

    def seal(self, request: WriteRequest) -> KeyPlan:
        """The key slots that a new image wants made."""
        plan: KeyPlan = self.hook.instar_seal(image=None, request=request)
        return plan

    def decode(self, params: Mapping[str, Any], stored: bytes) -> bytes:
        """One piece in a coding of the plugin's own, decoded."""
        content: bytes = self.hook.instar_decode(params=params, stored=stored)
        return content
