"""What operations return."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Finding, ImageInfo
else:
    from instar_core.record import NamedTuple


class Child(NamedTuple):
    """A file that an image consists of. `node` is qemu's name of the link (file, extents.0, data-file)."""

    node: str
    filename: str
    size: int
    """Bytes, as the file system says; qemu-img prints it rounded up to 512."""
    allocated: int | None
    """Bytes allocated (st_blocks times 512); None where unknown."""
    driver: str = "file"
    """qemu's name of the protocol that it is reached by."""
    limits: tuple[tuple[str, int], ...] = ()
    """Block limits by qemu's key names, where asked for."""


class DiskInfo(NamedTuple):
    """What `info` says of one image of a chain."""

    filename: str
    """As the caller named it; for a backing image, as it was resolved."""
    image: ImageInfo
    allocated: int | None
    """Bytes allocated, all files together; None where unknown."""
    children: tuple[Child, ...] = ()
    backing_filename: str | None = None
    """As stored in the image."""
    full_backing_filename: str | None = None
    """Resolved; None where it cannot be."""
    backing_format: str | None = None
    limits: tuple[tuple[str, int], ...] = ()
    """Block limits by qemu's key names, where asked for."""


class MapRange(NamedTuple):
    """One entry of `map`, with qemu-img's fields. `offset` is None where the content has no plain place."""

    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    compressed: bool
    offset: int | None
    filename: str = ""
    """The file that `offset` counts in; empty where there is none."""


class CheckReport(NamedTuple):
    """What `check` found. Counts as qemu-img's; `end` is the image end offset in bytes."""

    filename: str
    format: str
    corruptions: int
    leaks: int
    errors: int
    total: int
    allocated: int
    fragmented: int
    compressed: int
    end: int
    findings: tuple[Finding, ...] = ()
    """The findings, unless they were given to a callback as they came."""
    leaks_fixed: int = 0
    corruptions_fixed: int = 0


class Measurement(NamedTuple):
    """Bytes a new image needs: for this content, and fully allocated; `bitmaps` where qemu-img reports it."""

    required: int
    fully_allocated: int
    bitmaps: int | None = None


class Comparison(NamedTuple):
    """Whether two images hold the same. `offset` is that of the first differing sector, -1 if none is known.

    `reason` is one of identical, content, size, status; `sizes_differ` is set also where that does not matter.
    """

    identical: bool
    reason: str
    offset: int = -1
    sizes_differ: bool = False
    common: int = 0
    """Bytes that both have: the smaller of the two virtual sizes."""


class Creation(NamedTuple):
    """A new image: its virtual size and the options that were used, as (name, value) in the format's own order."""

    filename: str
    format: str
    size: int
    options: tuple[tuple[str, object], ...] = ()


class Progress(NamedTuple):
    """How far an operation is: `done` of `total` bytes of work; `verb` names it."""

    verb: str
    done: int
    total: int


class Bench(NamedTuple):
    """How long the requests of `bench` took."""

    seconds: float
    requests: int
    parallel: int
    """Requests that were under way at once: each has a thread."""
    engine: str = "threads"
