"""Writing a VHDX image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create, Repair
from instar_vhdx.choices import chosen
from instar_vhdx.create import create_edits
from instar_vhdx.repair import repair_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image's Geometry and edits, or the edits of a repair. Raises FormatError (USAGE) for any other change."""
    if image is None and isinstance(request, Create):
        return create_edits(chosen(request), runs)
    if image is not None and isinstance(request, Repair):
        return repair_edits(image, request)
    raise FormatError("Format driver 'vhdx' can only create and repair images", kind=ErrorKind.USAGE)
