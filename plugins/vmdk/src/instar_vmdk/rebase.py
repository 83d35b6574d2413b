"""Another parent, or none, and an image that holds nothing of its own any more."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Truncate
from instar_vmdk.choices import stored_name
from instar_vmdk.grainputs import cleared, used_end
from instar_vmdk.layout import NO_PARENT
from instar_vmdk.opening import open_disk
from instar_vmdk.textchange import stands_on
from instar_vmdk.textputs import read_text, text_edits
from instar_vmdk.update import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Rebase


def rebase_edits(image: Image, request: Rebase) -> Iterator[Edit]:
    """The descriptor names this parent and its content identifier (the old one where nobody looked), or none.

    Raises FormatError (UNSUPPORTED) where an image without a parent is to have one, (USAGE) for an impossible parent.
    """
    disk = open_disk(image)
    if not disk.descriptor.hint:
        if request.backing is None:
            return
        raise FormatError("Only an image with a parent can have another one", kind=ErrorKind.UNSUPPORTED)
    name, cid = b"", None
    if request.backing is not None:
        name = stored_name(request.backing.get("name") or b"", request.backing.get("format"))
        cid = (request.backing.get("details") or {}).get("cid")
        if cid is not None and (not isinstance(cid, int) or not 0 <= cid < NO_PARENT):
            raise FormatError("the parent image has no content identifier")
        if not name:
            raise FormatError("the parent has no name", kind=ErrorKind.USAGE)
    old = read_text(image.main)
    yield from text_edits(image.main, old, stands_on(old.text, name, cid))


def empty_edits(image: Image) -> Iterator[Edit]:
    """No grain is there any more. Raises FormatError (UNSUPPORTED) for extents that are not sparse, or only read."""
    disk = open_disk(image)
    for part in disk.parts:
        if part.sparse is None or part.device >= len(image.devices) or part.access != "RW":
            raise FormatError("the extents of the image cannot be emptied", kind=ErrorKind.UNSUPPORTED)
        writable(image.devices[part.device], part.sparse)
    for part in disk.parts:
        sparse = part.sparse
        if sparse is not None:
            source = image.devices[part.device]
            yield from cleared(source, sparse, part.device, 0, -(-sparse.capacity // sparse.grain))
    yield Barrier()
    for part in disk.parts:
        sparse = part.sparse
        if sparse is not None:
            source = image.devices[part.device]
            yield Truncate(min(source.size, -(-used_end(source, sparse, 0) // 512) * 512), part.device)
    yield Barrier()
