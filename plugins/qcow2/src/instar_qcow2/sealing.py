"""The key slots that a new image needs, or one that is amended, still to be filled by a key worker."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Amend, Create
from instar_qcow2.amend import amended_header, order
from instar_qcow2.plan import plan_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Image
    from instar_core.types import KeyPlan, WriteRequest


def seal(image: Image | None, request: WriteRequest) -> KeyPlan:
    """The order for the key worker. Raises FormatError where the request needs none, or is refused anyway."""
    if isinstance(request, Create):
        made = plan_image(request).encryption.order
        if made is not None:
            return made
    elif isinstance(request, Amend) and image is not None:
        return order(amended_header(image, request), request)
    raise FormatError("this change of a qcow2 image needs no key slots", kind=ErrorKind.UNSUPPORTED)
