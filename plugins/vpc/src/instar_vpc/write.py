"""Writing a VHD image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create, Empty, Rebase, Repair, Resize, Update
from instar_vpc.choices import chosen
from instar_vpc.rebase import empty_edits, rebase_edits
from instar_vpc.repair import repair_edits
from instar_vpc.resize import resize_edits
from instar_vpc.update import update_edits
from instar_vpc.writedynamic import dynamic_edits
from instar_vpc.writefixed import fixed_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """For a new image its Geometry, the edits that place `runs`, a Barrier, and those that commit; for a change of one
    that is there its edits.

    Raises FormatError (USAGE) for options that do not go together, (UNSUPPORTED) for a change that VHD does not have.
    """
    if image is None:
        if not isinstance(request, Create):
            raise FormatError("there is no image to change", kind=ErrorKind.USAGE)
        choices = chosen(request)
        return fixed_edits(choices, runs) if choices.fixed else dynamic_edits(choices, runs)
    if isinstance(request, Update):
        return update_edits(image, runs)
    if isinstance(request, Resize):
        return resize_edits(image, request)
    if isinstance(request, Rebase):
        return rebase_edits(image, request)
    if isinstance(request, Empty):
        return empty_edits(image)
    if isinstance(request, Repair):
        return repair_edits(image, request)
    raise FormatError("a VHD image has no such change", kind=ErrorKind.UNSUPPORTED)
