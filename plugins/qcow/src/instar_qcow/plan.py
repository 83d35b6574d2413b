"""What a new image is to be: the create options, validated in qemu's words."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow import layout, limits
from instar_qcow.encryption import REQUIRED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.types import Create
else:
    from instar_core.record import NamedTuple

COVERED_BITS = 21
"""An L2 table covers 2 MiB of the disk, whatever the clusters are."""


class Plan(NamedTuple):
    """A new image's parameters. `size` is bytes, a multiple of 512; `backing_file` is empty for none."""

    size: int
    cluster_bits: int
    backing_file: bytes
    encrypted: bool
    compress: bool

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def l2_bits(self) -> int:
        """An L2 table has 2^l2_bits entries."""
        return COVERED_BITS - self.cluster_bits

    @property
    def l2_bytes(self) -> int:
        """Bytes of an L2 table."""
        return 8 << self.l2_bits

    @property
    def clusters(self) -> int:
        """Clusters of the virtual disk."""
        return -(-self.size >> self.cluster_bits)

    @property
    def l1_size(self) -> int:
        """Entries of the L1 table."""
        return -(-self.size >> COVERED_BITS)

    @property
    def l1_offset(self) -> int:
        """Where the L1 table lies: behind the header and the backing file's name."""
        return layout.HEADER.size + len(self.backing_file) + 7 & ~7

    @property
    def l1_end(self) -> int:
        """The byte after the L1 table, which takes whole sectors."""
        return self.l1_offset + -(-8 * self.l1_size // layout.SECTOR) * layout.SECTOR


def plan_image(request: Create) -> Plan:
    """The plan of the image that the request asks for. Raises FormatError: what qemu-img refuses, with its message."""
    options = request.options
    backing = _backing(request)
    encrypted = _encrypted(options)
    size = -(-request.size // layout.SECTOR) * layout.SECTOR
    if not size:
        raise FormatError("Image size is too small, cannot be zero length", kind=ErrorKind.USAGE)
    plan = Plan(
        size=size,
        cluster_bits=9 if backing else 12,
        backing_file=backing,
        encrypted=encrypted,
        compress=request.compress,
    )
    if plan.l1_size > limits.L1_ENTRIES:
        raise FormatError("The image size is too large for file format 'qcow'", kind=ErrorKind.USAGE)
    if encrypted and request.compress:
        raise FormatError("Compression and encryption not supported at the same time", kind=ErrorKind.USAGE)
    return plan


def _encrypted(options: Mapping[str, Any]) -> bool:
    """Whether the image is to be encrypted: `encryption` is the older name of encrypt.format=aes."""
    old, new, secret = (options.get(name) for name in ("encryption", "encrypt.format", "encrypt.key-secret"))
    if old is not None and new is not None:
        raise FormatError(
            "'encrypt.format' and its alias 'encryption' can't be used at the same time", kind=ErrorKind.USAGE
        )
    if new is not None and new != "aes":
        raise FormatError("Unsupported encryption format", kind=ErrorKind.USAGE)
    if not old and new is None:
        if secret is not None:
            raise FormatError("Parameter 'encrypt.format' is missing", kind=ErrorKind.USAGE)
        return False
    if secret is None:
        raise FormatError(REQUIRED, kind=ErrorKind.USAGE)
    return True


def _backing(request: Create) -> bytes:
    name = (request.backing or {}).get("name") or request.options.get("backing_file") or b""
    stored = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)
    if len(stored) > limits.BACKING_NAME:
        raise FormatError("Backing file name too long", kind=ErrorKind.USAGE)
    return stored
