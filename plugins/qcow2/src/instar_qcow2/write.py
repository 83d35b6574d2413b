"""Writing qcow2: each kind of request has modules of its own, which SPEC.preload names for it."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Amend, BitmapEdit, Create, Empty, Rebase, Repair, Resize, SnapshotEdit, Update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The edits that the request asks for; for Create, a Geometry first. See the hook instar_write."""
    if isinstance(request, Create):
        from instar_qcow2.newimage import create

        return create(request, runs)
    if image is None:
        raise FormatError("qcow2 images cannot be changed in this way", kind=ErrorKind.UNSUPPORTED)
    return change(image, request, runs)


def change(image: Image, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The edits that change the image."""
    if isinstance(request, SnapshotEdit):
        from instar_qcow2.snapshot_edit import edit_snapshots

        return edit_snapshots(image, request)
    if isinstance(request, BitmapEdit):
        from instar_qcow2.bitmap_edit import edit_bitmaps

        return edit_bitmaps(image, request, runs)
    if isinstance(request, Resize):
        from instar_qcow2.resize import resize

        return resize(image, request)
    if isinstance(request, Rebase):
        from instar_qcow2.rebase import rebase

        return rebase(image, request)
    if isinstance(request, Update):
        from instar_qcow2.update import update

        return update(image, request, runs)
    if isinstance(request, Empty):
        from instar_qcow2.empty_image import empty_image

        return empty_image(image)
    if isinstance(request, Amend):
        from instar_qcow2.amend import amend

        return amend(image, request)
    if isinstance(request, Repair):
        from instar_qcow2.repair import repair

        return repair(image, request)
    raise FormatError("qcow2 images cannot be changed in this way", kind=ErrorKind.UNSUPPORTED)
