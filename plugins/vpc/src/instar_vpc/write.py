"""Writing a VHD image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create, Repair
from instar_vpc.choices import chosen
from instar_vpc.repair import repair_edits
from instar_vpc.writedynamic import dynamic_edits
from instar_vpc.writefixed import fixed_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """For a new image its Geometry, the edits that place `runs`, a Barrier, and those that commit; for a repair its
    edits.

    Raises FormatError (USAGE) for options that do not go together and for another change.
    """
    if image is not None and isinstance(request, Repair):
        return repair_edits(image, request)
    if image is not None or not isinstance(request, Create):
        raise FormatError("Format driver 'vpc' can only create and repair images", kind=ErrorKind.USAGE)
    choices = chosen(request)
    return fixed_edits(choices, runs) if choices.fixed else dynamic_edits(choices, runs)
