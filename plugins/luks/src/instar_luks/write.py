"""Every change that the plugin makes: new volumes, content, size, key slots, damaged copies of a header."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import amend as amend1
from instar_core.luks1.header import Header
from instar_core.types import Amend, Create, Repair, Resize, Update
from instar_luks import create, inplace
from instar_luks.luks2 import change as change2
from instar_luks.luks2 import copies
from instar_luks.volume import open_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, KeyPlan, Run, WriteRequest


def order(image: Image | None, request: WriteRequest) -> KeyPlan:
    """The key slot that the request needs made. Raises FormatError."""
    if isinstance(request, Create):
        return create.order(request)
    if image is None or not isinstance(request, Amend):
        raise FormatError("a LUKS volume has no such change", kind=ErrorKind.UNSUPPORTED)
    volume = open_volume(image)
    if isinstance(volume.header, Header):
        return amend1.order(volume.header, request.options, force=request.force)
    copy = copies.read(volume.source).used
    change2.check_places(copy, volume.header, None if volume.device else volume.offset)
    return change2.order(copy, volume.header, request.options, force=request.force)


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The edits of the request. Raises FormatError."""
    if isinstance(request, Create):
        return create.edits(request, runs)
    if image is not None and isinstance(request, Update):
        return inplace.update_edits(image, runs)
    if image is not None and isinstance(request, Resize):
        return inplace.resize_edits(image, request)
    if image is None or not isinstance(request, Amend | Repair):
        raise FormatError("a LUKS volume has no such change", kind=ErrorKind.UNSUPPORTED)
    return _changed(image, request)


def _changed(image: Image, request: Amend | Repair) -> Iterator[Edit]:
    volume = open_volume(image)
    found, device = volume.header, volume.device
    if isinstance(found, Header):
        return amend1.edits(found, request, device=device) if isinstance(request, Amend) else iter(())
    pair = copies.read(volume.source)
    if isinstance(request, Amend):
        change2.check_places(pair.used, found, None if device else volume.offset)
        return change2.amended(pair, found, request, device=device)
    if request.mode == "all" or pair.behind:
        return change2.repaired(pair, request.entropy, device=device)
    return iter(())
