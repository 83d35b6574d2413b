"""What may be demanded of an image."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


class Raw:
    """When a file that no format claims is a raw disk."""

    ANY = "any"
    """When it was declared to be one."""
    EVIDENCE = "evidence"
    """When it shows a partition table, a file system or a volume, or nothing but zeros at both ends."""
    PARTITIONS = "partitions"
    """When it has a partition table."""


class Soundness:
    """How sound the structure of an image must be."""

    NONE = "none"
    """It is not looked at."""
    CORRUPTIONS = "corruptions"
    """No entry of its tables is wrong."""
    LEAKS = "leaks"
    """Nothing in it is lost either, and it was closed cleanly."""


class Demands(NamedTuple):
    """What an image must be to be accepted. Sizes are bytes; None is no limit. The defaults demand as little as is
    safe."""

    name: str
    formats: tuple[str, ...] | None = None
    """Names of the formats that are allowed."""
    declared: bool = False
    """What format it is must be declared. What is declared must be true in any case."""
    raw: str = Raw.EVIDENCE
    partitions: bool = True
    """The partition table of a raw disk, where it has one, must be sound."""
    references: str = "untrusted"
    """The image policy that files named by the image are judged by."""
    chain: int | None = 1
    """Images that its chain may have, itself among them."""
    extents: int | None = 1
    """Extents that a VMDK image may consist of."""
    vmdk_types: tuple[str, ...] | None = None
    """Values of createType that are allowed."""
    features: tuple[str, ...] = ()
    """Features that are not allowed, by the names, or names and values, that info shows them by: extended-l2,
    compression-type=zstd."""
    encrypted: bool = True
    snapshots: int | None = None
    """Internal snapshots that it may have."""
    bitmaps: int | None = None
    virtual_size: int | None = None
    stored_size: int | None = None
    """Bytes that its files may be long, together."""
    ratio: int | None = None
    """How many times as large as its files its virtual disk may be. Refuses empty disks, which are small files."""
    expansion: int | None = None
    """How many times as much content as its files are long it may have: what a bomb has, and an empty disk has not."""
    alignment: int = 1
    """Bytes that its virtual size must be a multiple of."""
    room: str = ""
    """A folder: the virtual size must be smaller than what is free there."""
    check: str = Soundness.CORRUPTIONS
    cpu: int | None = None
    """CPU seconds of each worker that reads it; None for what limits.py gives, which grows with the file."""
    memory: int | None = None
    """Bytes of address space of such a worker; None for what limits.py gives."""
    timeout: float | None = None
    """Seconds of each worker, from start to end."""
