"""The words of the contract between instar and a format plugin: plain, immutable data.

All lengths and offsets are bytes. Everything here crosses a process or machine boundary, so every field is None, a
bool, an int, a str, bytes, or a tuple, list or str-keyed dict of those.
"""

from __future__ import annotations

from instar_core.requests import Amend as Amend
from instar_core.requests import BitmapEdit as BitmapEdit
from instar_core.requests import Create as Create
from instar_core.requests import Empty as Empty
from instar_core.requests import KeyPlan as KeyPlan
from instar_core.requests import KeySlot as KeySlot
from instar_core.requests import Rebase as Rebase
from instar_core.requests import Repair as Repair
from instar_core.requests import Resize as Resize
from instar_core.requests import SnapshotEdit as SnapshotEdit
from instar_core.requests import Update as Update
from instar_core.spec import API as API
from instar_core.spec import FILE_OPTIONS as FILE_OPTIONS
from instar_core.spec import Capability as Capability
from instar_core.spec import FormatSpec as FormatSpec
from instar_core.spec import Option as Option
from instar_core.spec import Signature as Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple

GROUP = "instar.formats.v1"
"""Entry-point group in which format plugins stand."""

NOWHERE = -1
"""The offset of an extent that has no place in any device."""


class Kind:
    """What an extent reads as."""

    DATA = 0
    """The bytes stored at the extent's place."""
    ZERO = 1
    """Zeros; a place, where one is given, is only reserved."""
    ABSENT = 2
    """Whatever the next image of the chain says; zeros where there is none."""


class Flag:
    """Bits of Extent.flags."""

    REFINE = 1
    """Holes of the file under this extent are to be shown as zero data when the image is mapped."""
    HOLES = 2
    """The file is the disk here: its holes are zero extents, not data."""


class Extent(NamedTuple):
    """A stretch of the virtual disk and where its content lies.

    A coded extent (coding > 0) stands for one stored piece: `stored` bytes at `offset` decode to (at most) one unit of
    its coding, of which this extent is `length` bytes from `skip` on. A plain one has coding, stored and skip 0.
    """

    start: int
    length: int
    kind: int
    device: int = 0
    offset: int = NOWHERE
    stored: int = 0
    coding: int = 0
    skip: int = 0
    flags: int = 0


class Coding(NamedTuple):
    """How stored bytes turn into content. Extent.coding n means ImageInfo.codings[n - 1].

    With `whole` each extent is one piece that decodes alone; without, the coding works sector by sector (ciphers) and
    `unit` is the sector. Sectors are numbered by their place on the virtual disk, or, where params["by"] is "offset",
    by their place in the device; both count in units from 0, and params["iv_base"] is added.

    A name that instar_core.codecs does not know is decoded by the plugin's own instar_decode.
    """

    name: str
    unit: int
    whole: bool = True
    params: Mapping[str, Any] = {}


class Role:
    """Why an image names another file."""

    BACKING = "backing"
    DATA = "data"
    EXTENT = "extent"


class Reference(NamedTuple):
    """A file that the image names. Plugins never open it; the host does, if policy allows.

    Where `details` hold an `identity`, the file must have that one: its own ImageInfo.extra["identity"].
    """

    role: str
    name: bytes
    format: str | None = None
    details: Mapping[str, Any] = {}


class Snapshot(NamedTuple):
    """An internal snapshot. `seconds` and `nanoseconds` are its date since the epoch, `clock` the guest's in ns."""

    id: str
    name: str
    state_size: int = 0
    seconds: int = 0
    nanoseconds: int = 0
    clock: int = 0
    icount: int | None = None
    virtual_size: int = 0


class Bitmap(NamedTuple):
    """A dirty bitmap: its granularity in bytes and its flags as qemu names them."""

    name: str
    granularity: int
    flags: tuple[str, ...] = ()


class ImageInfo(NamedTuple):
    """What an image says of itself.

    `details` are the format-specific facts that qemu-img prints, by qemu's own key names (hyphens); `extra` are further
    ones. `dirty` is None where the format has no such notion. `partial` says that reading goes on past the end of
    devices as zeros (the format allows a short last unit). `blocked` names why content cannot be read although the
    metadata can (an encrypted image without its key, a corrupt structure).
    """

    format: str
    virtual_size: int
    cluster_size: int = 0
    references: tuple[Reference, ...] = ()
    codings: tuple[Coding, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    bitmaps: tuple[Bitmap, ...] = ()
    encrypted: bool = False
    dirty: bool | None = False
    partial: bool = True
    blocked: str = ""
    details: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}


class LayerKind:
    """Which content of an image is meant."""

    ACTIVE = "active"
    SNAPSHOT = "snapshot"
    BITMAP = "bitmap"


class Layer(NamedTuple):
    """One content of an image: the active one, or that of the snapshot or bitmap with this id."""

    kind: str = LayerKind.ACTIVE
    id: str = ""


class Span(NamedTuple):
    """A window of the virtual disk."""

    start: int
    length: int


class ProbeView(NamedTuple):
    """The first and the last bytes of a file (at most limits.PROBE_HEAD and PROBE_TAIL) and its size."""

    head: bytes
    tail: bytes
    size: int


class Match(NamedTuple):
    """A plugin's claim on a file. `certainty` is 100 for a full signature, lower for weaker evidence."""

    format: str
    certainty: int = 100
    detail: str = ""


class Run(NamedTuple):
    """Content offered to a writer: `length` bytes at `start`, DATA or ZERO.

    With coding 1 the host has encoded it already into `stored` bytes (one unit); with coding 0 stored is 0.
    """

    start: int
    length: int
    kind: int = Kind.DATA
    stored: int = 0
    coding: int = 0


class NewFile(NamedTuple):
    """A further file that a new image consists of: `name` without folders, or, where `named`, as the user gave it.

    One that is named has at least `size` bytes when the edits begin; the others are empty.
    """

    name: bytes
    size: int = 0
    named: bool = False


class Geometry(NamedTuple):
    """The first thing a writer yields: how it wants the runs that follow.

    Runs start on multiples of `unit` and end on one or at `size`. `zeros` says whether the writer wants to hear of zero
    runs (else they are left out). `coding` is how the host encodes units (None: not at all); with `coding_required`
    also those that grow by it. `overhead` is the bytes of metadata of the fully allocated image, for measure.
    `files` are devices 1, 2, …; device 0 is the image itself. `full` asks that every unit be offered as DATA, zeros
    included. `measure_unit` is what measure counts data in, where that is not `unit`. `cipher` is the coding (by
    sectors, see Coding) in which the host writes all content that it copies to its place; what the plugin puts is
    written as it is.
    """

    unit: int
    size: int
    zeros: bool = False
    coding: Coding | None = None
    coding_required: bool = False
    overhead: int = 0
    files: tuple[NewFile, ...] = ()
    full: bool = False
    measure_unit: int = 0
    cipher: Coding | None = None


class Put(NamedTuple):
    """Edit: these bytes at this offset."""

    offset: int
    data: bytes
    device: int = 0


class Copy(NamedTuple):
    """Edit: the content that the run at `start` offered, at this offset. `length` is its stored length if encoded."""

    start: int
    offset: int
    length: int
    device: int = 0


class Zero(NamedTuple):
    """Edit: zeros at this offset, allocated."""

    offset: int
    length: int
    device: int = 0


class Punch(NamedTuple):
    """Edit: this range is not needed any more; it may be deallocated and then reads as zeros."""

    offset: int
    length: int
    device: int = 0


class Reserve(NamedTuple):
    """Edit: room on disk for this range. `how` is falloc (fallocate) or full (written zeros)."""

    offset: int
    length: int
    how: str = "falloc"
    device: int = 0


class Truncate(NamedTuple):
    """Edit: the device has this size from now on; what it grows by reads as zeros."""

    size: int
    device: int = 0


class Barrier(NamedTuple):
    """Edit: all before this is on stable storage before anything after it is written."""


class Severity:
    """How bad a finding is."""

    NOTE = 0
    LEAK = 1
    CORRUPTION = 2


class Finding(NamedTuple):
    """Something check found. `text` is the line that qemu-img would print, `count` how many problems it stands for."""

    severity: int
    text: str
    offset: int = NOWHERE
    count: int = 1  # type: ignore[assignment]  # hides tuple.count, which no record needs
    repairable: bool = False


class Tally(NamedTuple):
    """The counts of a check, in clusters; `end` is the image's end offset in bytes, 0 where that has no meaning."""

    total: int = 0
    allocated: int = 0
    fragmented: int = 0
    compressed: int = 0
    end: int = 0
    errors: int = 0


if TYPE_CHECKING:
    Edit = Put | Copy | Zero | Punch | Reserve | Truncate | Barrier
    Change = SnapshotEdit | Repair | Amend | Resize | Rebase | Empty | BitmapEdit
    WriteRequest = Create | Update | Change
