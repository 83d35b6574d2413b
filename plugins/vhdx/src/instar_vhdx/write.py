"""Writing a VHDX image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create, Empty, Rebase, Repair, Resize, Update
from instar_vhdx.choices import chosen
from instar_vhdx.create import create_edits
from instar_vhdx.rebase import rebase_edits
from instar_vhdx.repair import repair_edits
from instar_vhdx.resize import empty_edits, resize_edits
from instar_vhdx.update import update_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image's Geometry and edits, or the edits of a change.

    Raises FormatError (USAGE) for options that do not go together, (UNSUPPORTED) for a change that VHDX does not have.
    """
    if image is None:
        if not isinstance(request, Create):
            raise FormatError("there is no image to change", kind=ErrorKind.USAGE)
        return create_edits(chosen(request), runs)
    if isinstance(request, Update):
        return update_edits(image, request, runs)
    if isinstance(request, Resize):
        return resize_edits(image, request)
    if isinstance(request, Rebase):
        return rebase_edits(image, request)
    if isinstance(request, Empty):
        return empty_edits(image, request)
    if isinstance(request, Repair):
        return repair_edits(image, request)
    raise FormatError("a VHDX image has no such change", kind=ErrorKind.UNSUPPORTED)
