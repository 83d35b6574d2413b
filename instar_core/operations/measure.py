"""measure: how many bytes a new image would need."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import merge
from instar_core.bitmapcopy import BITMAPPED
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.making import Order
from instar_core.operations import layers
from instar_core.results import Measurement
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings
    from instar_core.types import Geometry, Layer

MEASURED_BY_QEMU = ("raw", "qcow2", "luks")
"""Formats that qemu-img measures."""


def measure(
    path: str | None = None,
    *,
    size: int | None = None,
    format: str | None = None,
    target_format: str = "raw",
    options: Mapping[str, str] | None = None,
    snapshot: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> Measurement:
    """Bytes that an image of `target_format` would need for the content of the image at `path`, or for an empty disk of
    `size` bytes, and when fully allocated. Raises InstarError, of kind UNSUPPORTED for a format that cannot tell.
    `open_options` are as in info.
    """
    # How content is compressed, and what lies below is called, changes nothing; qemu-img does not look at it either.
    given = {name: text for name, text in (options or {}).items() if name not in ("compression_type", "backing_fmt")}
    order = Order("", target_format, given, settings)
    order.measuring = True
    hidden = settings.as_qemu and target_format not in MEASURED_BY_QEMU
    if hidden or Capability.MEASURE not in order.spec.capabilities:
        raise InstarError(
            f"Block driver '{target_format}' does not support size measurement", kind=ErrorKind.UNSUPPORTED
        )
    reserved = _reserved(order)
    if path is None:
        wanted = size if size is not None else int(order.values.get("size") or 0)
        geometry = _geometry(order, wanted)
        return Measurement(_full(geometry) if reserved else _required(geometry, 0), _full(geometry))
    with chains.open_chain(path, settings, "map", format=format, options=open_options) as top:
        layer = layers.chosen(top, snapshot)
        content = merge.layer_size(top, layer)
        geometry = _geometry(order, content)
        bitmaps = _bitmaps(top, order)
        used = _used(top, layer, content, geometry.measure_unit or geometry.unit) if geometry.overhead else content
        return Measurement(_full(geometry) if reserved else _required(geometry, used), _full(geometry), bitmaps)


def _reserved(order: Order) -> bool:
    """Whether all of the new image is allocated from the start. A raw disk is its size whatever is reserved.

    Raises UsageError for a preallocation that does not exist.
    """
    how = order.values.get("preallocation")
    if order.spec.name == "raw":
        order.values["preallocation"] = None
        return False
    if how not in (None, "off", "metadata", "falloc", "full"):
        raise UsageError(f"invalid parameter value: {how}")
    return how in ("falloc", "full")


def _geometry(order: Order, size: int) -> Geometry:
    with order.session() as session:
        return order.dialogue(session, size).geometry


def _full(geometry: Geometry) -> int:
    unit = geometry.measure_unit or geometry.unit
    return geometry.overhead + (-(-geometry.size // unit) * unit if geometry.overhead else geometry.size)


def _required(geometry: Geometry, used: int) -> int:
    return geometry.overhead + used if geometry.overhead and not geometry.full else _full(geometry)


def _bitmaps(top: Member, order: Order) -> int | None:
    """Bytes for copying all bitmaps, those in use too: named only where source and target can have any.

    Each takes its data and its table in whole clusters; the directory entry is 24 bytes and the name, padded to 8.
    Source: docs/interop/qcow2.txt, "Bitmaps".
    """
    if order.spec.name != "qcow2" or top.format not in BITMAPPED or top.info.details.get("compat") == "0.10":
        return None
    cluster = int(order.values.get("cluster_size") or 0)
    total = directory = 0
    for bitmap in top.info.bitmaps:
        if not bitmap.granularity:
            continue
        clusters = -(-top.info.virtual_size // (bitmap.granularity * 8 * cluster))
        total += clusters * cluster + -(-clusters * 8 // cluster) * cluster
        directory += -(-(24 + len(bitmap.name.encode("utf-8", "surrogateescape"))) // 8) * 8
    return total + -(-directory // cluster) * cluster


def _used(top: Member, layer: Layer, size: int, unit: int) -> int:
    """Bytes of units that hold data which is not known to be zero. A unit that ends in one extent is counted whole."""
    used = at = 0
    for extent, _member, _depth, filled in merge.refined(merge.extents(top, layer, 0, size)):
        stop = extent.start + extent.length
        if extent.kind != Kind.DATA or not filled or stop <= at:
            continue
        first = max(extent.start, at)
        at = -(-stop // unit) * unit
        used += first % unit + at - first
    return used
