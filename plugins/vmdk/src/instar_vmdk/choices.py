"""What the options of create ask for."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import VIRTUAL_SIZE
from instar_vmdk import SUBFORMATS
from instar_vmdk.layout import NO_PARENT, SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Create
else:
    from instar_core.record import NamedTuple

ADAPTERS = ("ide", "buslogic", "lsilogic", "legacyESX")
UNDEFINED = "undefined"
TOOLS = "2147483647"
"""toolsVersion of an image that knows none, as qemu-img writes it."""


class Choices(NamedTuple):
    """A new image's parameters. `size` is bytes, a multiple of 512; `backing` is empty for none."""

    size: int
    subformat: str
    adapter: str
    hardware: str
    tools: str
    zeroed: bool
    name: bytes
    backing: bytes
    cid: int
    parent_cid: int

    @property
    def flat(self) -> bool:
        """Whether the image's content lies in flat files."""
        return self.subformat.endswith("Flat")

    @property
    def split(self) -> bool:
        """Whether the image is divided into files of 2 GiB."""
        return self.subformat.startswith("twoGb")


def chosen(request: Create) -> Choices:
    """What `request` asks for. Raises FormatError (USAGE), in qemu's words, for what cannot be had."""
    options = request.options
    subformat = options.get("subformat") or SUBFORMATS[0]
    adapter = options.get("adapter_type") or ADAPTERS[0]
    hardware = options.get("hwversion") or UNDEFINED
    backing = _backing(request)
    zeroed = bool(options.get("zeroed_grain"))
    for value, known in ((subformat, SUBFORMATS), (adapter, ADAPTERS)):
        if value not in known:
            raise FormatError(f"invalid parameter value: {value}", kind=ErrorKind.USAGE)
    if options.get("compat6") and hardware != UNDEFINED:
        raise FormatError("compat6 cannot be enabled with hwversion set", kind=ErrorKind.USAGE)
    if hardware == UNDEFINED:
        hardware = "6" if options.get("compat6") else "4"
    if subformat.endswith("Flat") and backing:
        raise FormatError("Flat image can't have backing file", kind=ErrorKind.USAGE)
    if subformat.endswith("Flat") and zeroed:
        raise FormatError("Flat image can't enable zeroed grain", kind=ErrorKind.USAGE)
    size = -(-request.size // SECTOR) * SECTOR
    if size > VIRTUAL_SIZE:
        raise FormatError("the image size is too large for file format 'vmdk'", kind=ErrorKind.USAGE)
    return Choices(
        size=size,
        subformat=subformat,
        adapter=adapter,
        hardware=hardware,
        tools=options.get("toolsversion") or TOOLS,
        zeroed=zeroed,
        name=request.name,
        backing=backing,
        cid=identifier(request.entropy),
        parent_cid=_parent(request) if backing else NO_PARENT,
    )


def _backing(request: Create) -> bytes:
    """The parent's name as it is to be stored. Raises FormatError (USAGE) for a parent of another format."""
    given, options = request.backing or {}, request.options
    name = given.get("name") or options.get("backing_file") or b""
    return stored_name(name, given.get("format") or options.get("backing_fmt"))


def stored_name(name: str | bytes, kind: str | None) -> bytes:
    """The name of a parent of this format as it is stored. Raises FormatError (USAGE)."""
    if kind not in (None, "vmdk"):
        raise FormatError("backing_file must be a vmdk image", kind=ErrorKind.USAGE)
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)


def _parent(request: Create) -> int:
    details = (request.backing or {}).get("details") or {}
    cid = details.get("cid", NO_PARENT)
    if not isinstance(cid, int) or not 0 <= cid <= NO_PARENT:
        raise FormatError("the parent image has no content identifier", kind=ErrorKind.INVALID)
    return cid


def identifier(entropy: bytes) -> int:
    """A content identifier that is none of those with a meaning (no parent, see the long one, none)."""
    return int.from_bytes(entropy[:4], "little") % 0xFFFFFFFD + 1
