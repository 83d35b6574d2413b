"""Changing the key slots of an encrypted image in place. Source: LUKS1 On-Disk Format Specification 1.2.3."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import amend as luks_amend
from instar_qcow2 import encryption, layout
from instar_qcow2.header import read_header
from instar_qcow2.snapshot_edit import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.luks1.header import Header as LuksHeader
    from instar_core.source import Image
    from instar_core.types import Amend, Edit, KeyPlan

PREFIX = "encrypt."


def amend(image: Image, request: Amend) -> Iterator[Edit]:
    """A key slot more, or key slots less, in phases: a stop anywhere leaves the old state or the new one.

    Raises FormatError in qemu's words.
    """
    found = amended_header(image, request)
    base, _ = encryption.place(read_header(image.main))
    yield from luks_amend.edits(found, request, base, prefix=PREFIX)


def order(found: LuksHeader, request: Amend) -> KeyPlan:
    """The key slot that the request adds, to be filled."""
    return luks_amend.order(found, request.options, PREFIX, force=request.force)


def amended_header(image: Image, request: Amend) -> LuksHeader:
    """The LUKS header that the request changes. Raises FormatError where there is none, or nothing may be changed."""
    for name in request.options:
        if not name.startswith(PREFIX):
            raise FormatError(f"Changing '{name}' of qcow2 images is not supported", kind=ErrorKind.UNSUPPORTED)
    header = read_header(image.main)
    refuse(header)
    if header.crypt_method == layout.CRYPT_NONE:
        raise FormatError("Can't amend encryption options - encryption not present")
    if header.crypt_method != layout.CRYPT_LUKS:
        raise FormatError("Only LUKS encryption options can be amended")
    found = encryption.luks_header(image.main, header)
    base, length = encryption.place(header)
    if any(slot.offset + found.material_size > length for slot in found.slots):
        raise FormatError("Request for data outside of extension header", offset=base)
    return found
