"""What the options of create ask for."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx import SUBFORMATS, limits
from instar_vhdx.locator import identity
from instar_vhdx.opening import table_entries
from instar_vhdx.utf16 import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Create
else:
    from instar_core.record import NamedTuple

SECTOR = 512
"""Bytes of a logical and of a physical sector of new images, as in qemu."""
DIFFERENCING_BLOCK = 2 << 20
"""Bytes of a block of a differencing image where none are chosen: what Hyper-V takes."""
UNIT = 64 << 10
"""Unit in which content is offered to an image without a parent: stretches of zeros in a block are left as holes."""
DIFFERENCING_LARGEST = 64 << 20
"""Largest block of a differencing image: it is offered as a whole, so that no sector of it is left to the parent."""


class Choices(NamedTuple):
    """A new image's parameters, in bytes. `parent` is empty for none; `linkage` is its identity."""

    size: int
    block: int
    log: int
    fixed: bool
    zero: bool
    parent: str
    linkage: str
    entropy: bytes

    @property
    def blocks(self) -> int:
        """Payload blocks."""
        return -(-self.size // self.block)

    @property
    def ratio(self) -> int:
        """Payload blocks of a chunk."""
        return (1 << 23) * SECTOR // self.block

    @property
    def unit(self) -> int:
        """Unit in which content is offered."""
        return self.block if self.parent else UNIT

    @property
    def table(self) -> int:
        """Bytes of the block allocation table's region: whole MiB, at least one."""
        entries = table_entries(self.blocks, self.ratio, bool(self.parent))
        if not self.blocks:  # qemu reckons (blocks - 1) / ratio in 32 bits, and opens nothing with a smaller table
            entries = 0xFFFFFFFF // self.ratio
        return max(limits.MIB, up(entries * 8))


def up(size: int) -> int:
    """`size` rounded up to a MiB."""
    return -(-size // limits.MIB) * limits.MIB


def chosen(request: Create) -> Choices:
    """What `request` asks for. Raises FormatError (USAGE), in qemu's words, for what cannot be had."""
    options = request.options
    subformat = options.get("subformat") or SUBFORMATS[0]
    if subformat not in SUBFORMATS:
        raise _refused(f"Parameter 'subformat' does not accept value '{subformat}'")
    size = -(-request.size // SECTOR) * SECTOR
    if size > limits.VIRTUAL_SIZE:
        raise _refused("Image size too large; max of 64TB")
    parent = _parent(request)
    if parent and subformat == "fixed":
        raise _refused("A fixed image can't have a backing file")
    log = up(max(1, options.get("log_size") or limits.MIB))
    if log >= 1 << 32:
        raise _refused("Log size must be smaller than 4 GB")
    zero = options.get("block_state_zero")
    return Choices(
        size=size,
        block=_block(options.get("block_size") or 0, size, parent),
        log=log,
        fixed=subformat == "fixed",
        zero=zero is None or bool(zero),
        parent=parent,
        linkage=linkage_of((request.backing or {}).get("identity")) if parent else "",
        entropy=request.entropy,
    )


def _block(wanted: int, size: int, parent: str) -> int:
    if not wanted:
        return DIFFERENCING_BLOCK if parent else _automatic(size)
    block = min(up(wanted), limits.BLOCK_LARGEST)
    if block & block - 1:
        raise _refused("Block size must be a power of two")
    if parent and block > DIFFERENCING_LARGEST:
        raise _refused("Block size must not be larger than 64 MB with a backing file")
    return block


def _automatic(size: int) -> int:
    """The block size that qemu-img chooses for a disk of this size."""
    for most, block in ((limits.GIB, 8), (100 * limits.GIB, 16), (32 * limits.TIB, 32)):
        if size <= most:
            return block * limits.MIB
    return 64 * limits.MIB


def _parent(request: Create) -> str:
    """The parent's name. Raises FormatError (USAGE) for one of another format, or one that cannot be stored."""
    given, options = request.backing or {}, request.options
    name = given.get("name") or options.get("backing_file") or b""
    return stored_name(name, given.get("format") or options.get("backing_fmt"))


def stored_name(name: str | bytes, kind: str | None) -> str:
    """The name of a parent of this format as it is stored. Raises FormatError (USAGE)."""
    if kind not in (None, "vhdx"):
        raise _refused("backing_file must be a vhdx image")
    text = name if isinstance(name, str) else bytes(name).decode("utf-8", "surrogateescape")
    try:
        stored = encode(text)
    except UnicodeEncodeError:
        raise _refused("the name of the backing file is no UTF-8") from None
    if "\\" in text or len(stored) > 0xFFFF:
        raise _refused("the name of the backing file cannot be stored")
    return text


def linkage_of(told: object) -> str:
    """The parent's identifier, as its own info says it. Raises FormatError (USAGE) where nobody looked."""
    linkage = identity(str(told or ""))
    if linkage is None:
        raise _refused("the backing file must be there and readable, for the image stores its identifier")
    return linkage


def _refused(message: str) -> FormatError:
    return FormatError(message, kind=ErrorKind.USAGE)
