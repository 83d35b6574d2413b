"""The hooks of a format plugin.

A hook is pure towards its host: bounded positional reads in, plain data out. It gets no path, descriptor, clock,
entropy, logger or callback, and may not import, open or start anything once the sandbox is closed. Range errors of its
answers are the image's fault, shape errors (a gap, an overlap) the plugin's: the host checks both, so a plugin need not
compare offsets with the size of a device.

`hookimpl` marks an implementation as pluggy does; an implementation may name fewer arguments than its hook.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from instar_core.source import Image
    from instar_core.types import (
        Edit,
        Extent,
        Finding,
        Geometry,
        ImageInfo,
        KeyPlan,
        Layer,
        Match,
        ProbeView,
        Run,
        Span,
        Tally,
        WriteRequest,
    )

    F = TypeVar("F", bound=Callable[..., Any])

PROJECT = "instar"


class HookimplMarker:
    """Marks a function as a hook implementation: the same mark as pluggy.HookimplMarker("instar") leaves."""

    def __call__(self, function: F) -> F:
        """The function itself, marked."""
        mark = dict(wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None)
        setattr(function, PROJECT + "_impl", mark)
        return function


class HookspecMarker:
    """Marks a function as a hook specification, with only the first answer wanted."""

    def __call__(self, function: F) -> F:
        """The function itself, marked."""
        setattr(
            function,
            PROJECT + "_spec",
            dict(firstresult=True, historic=False, warn_on_impl=None, warn_on_impl_args=None),
        )
        return function


hookimpl = HookimplMarker()
hookspec = HookspecMarker()


@hookspec
def instar_probe(view: ProbeView) -> Match | None:
    """Whether the file is of this format, judged from its first and last bytes and its size. Never raises."""


@hookspec
def instar_info(image: Image) -> ImageInfo:  # type: ignore[empty-body]
    """What the image says of itself: size, references, snapshots, codings. References are named, never followed."""


@hookspec
def instar_map(image: Image, layer: Layer, span: Span) -> Iterable[Extent]:  # type: ignore[empty-body]
    """Extents that ascend, touch one another and cover the span exactly."""


@hookspec
def instar_write(  # type: ignore[empty-body]
    image: Image | None, request: WriteRequest, runs: Iterable[Run]
) -> Iterable[Geometry | Edit]:
    """For Create: first a Geometry, then the edits that place the runs, last a Barrier and the edits that commit.

    For a change of an existing image: its edits in phases divided by barriers, such that a stop between or within
    phases leaves the old state, the new state, or leaked clusters. For Update a Geometry comes first, as for Create.
    """


@hookspec
def instar_check(image: Image) -> Iterable[Finding | Tally]:  # type: ignore[empty-body]
    """Every finding about the structure of the image, and last one Tally."""


@hookspec
def instar_unlock(image: Image) -> KeyPlan:  # type: ignore[empty-body]
    """Key slots and parameters of an encrypted image, without any secret. Optional."""


@hookspec
def instar_seal(image: Image | None, request: WriteRequest) -> KeyPlan:  # type: ignore[empty-body]
    """The key slots that the request needs made, still to be filled by a key worker (see KeyPlan). Optional."""


@hookspec
def instar_decode(params: Mapping[str, Any], stored: bytes) -> bytes:  # type: ignore[empty-body]
    """The content of one stored piece in a coding that the core lacks. Sees no metadata. Optional."""


HOOKS = (
    "instar_probe",
    "instar_info",
    "instar_map",
    "instar_write",
    "instar_check",
    "instar_unlock",
    "instar_seal",
    "instar_decode",
)
"""Names of all hooks, in the order of this file."""
