"""Writing a new VMDK image: which writer it is."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Create
from instar_vmdk.choices import chosen
from instar_vmdk.writeflat import flat_edits
from instar_vmdk.writesparse import sparse_edits
from instar_vmdk.writestream import stream_edits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Geometry, Run, WriteRequest


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The image's Geometry, then the edits that place `runs`, a Barrier, and those that commit.

    Raises FormatError (USAGE) for options that do not go together and for a change of an existing image.
    """
    if image is not None or not isinstance(request, Create):
        raise FormatError("Format driver 'vmdk' can only create images", kind=ErrorKind.USAGE)
    choices = chosen(request)
    if choices.flat:
        return flat_edits(choices, runs)
    if choices.subformat == "streamOptimized":
        return stream_edits(choices, runs)
    return sparse_edits(choices, runs)
