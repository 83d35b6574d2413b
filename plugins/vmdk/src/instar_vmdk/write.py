"""Writing a VMDK image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create, Empty, Rebase, Repair, Resize, Update
from instar_vmdk.choices import chosen
from instar_vmdk.rebase import empty_edits, rebase_edits
from instar_vmdk.repair import repair_edits
from instar_vmdk.resize import resize_edits
from instar_vmdk.update import update_edits
from instar_vmdk.writeflat import flat_edits
from instar_vmdk.writesparse import sparse_edits
from instar_vmdk.writestream import stream_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """Of a new image its Geometry, then the edits that place `runs`, a Barrier, and those that commit; of one that is
    there the edits of the change.

    Raises FormatError (USAGE) for options that do not go together, (UNSUPPORTED) for a change that VMDK does not have.
    """
    if image is None:
        if not isinstance(request, Create):
            raise FormatError("there is no image to change", kind=ErrorKind.USAGE)
        choices = chosen(request)
        if choices.flat:
            return flat_edits(choices, runs)
        stream = choices.subformat == "streamOptimized"
        return stream_edits(choices, runs) if stream else sparse_edits(choices, runs)
    if isinstance(request, Update):
        return update_edits(image, request, runs)
    if isinstance(request, Resize):
        return resize_edits(image, request)
    if isinstance(request, Rebase):
        return rebase_edits(image, request)
    if isinstance(request, Repair):
        return repair_edits(image, request)
    if isinstance(request, Empty):
        return empty_edits(image)
    raise FormatError("a VMDK image has no such change", kind=ErrorKind.UNSUPPORTED)
