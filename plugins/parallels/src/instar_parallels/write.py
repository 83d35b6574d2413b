"""Writing Parallels images: the layout and the header that qemu-img gives them. Units are bytes."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core import limits as core_limits
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Create, Geometry, Put, Truncate
from instar_parallels import limits
from instar_parallels.layout import EXT_MAGIC, HEADER, SECTOR, VERSION, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from instar_core.types import Edit, Run

ENTRIES = core_limits.PUT // 4
"""BAT entries that are put together."""
HEADS, PER_TRACK = 16, 32
"""The geometry that a guest is shown."""


def edits(request: Create, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image. Until the last edit it has no header, and so is none.

    Raises FormatError (USAGE), in qemu's words where it refuses too, for a size that does not go.
    """
    size = -(-request.size // SECTOR) * SECTOR
    cluster = _cluster(request, size)
    entries = -(-size // cluster)
    if entries > limits.ENTRIES:
        raise _usage("The image size is too large for file format 'parallels' (try using a larger cluster size)")
    data = _data_area(cluster, entries)
    yield Geometry(unit(cluster), size, overhead=data, measure_unit=cluster)
    yield Truncate(0)
    yield Truncate(data)
    allocated = yield from _placed(cluster, entries, data, runs)
    yield Truncate(data + allocated * cluster)
    yield Barrier()
    yield Put(0, _header(size, cluster, entries, data))


def _cluster(request: Create, size: int) -> int:
    chosen = request.options.get("cluster_size")
    cluster = 1 << 20 if chosen is None else int(chosen)
    if cluster <= 0 or cluster % SECTOR:
        raise _usage("Cluster size must be a multiple of 512 bytes")
    if cluster > limits.TRACKS * SECTOR:
        raise _usage("Cluster size is too large")
    if size >= limits.FACTOR * cluster:
        raise _usage("Image size is too large for this cluster size")
    return cluster


def _data_area(cluster: int, entries: int) -> int:
    """Where the data area begins: behind header and BAT, on a multiple of the cluster.

    qemu rounds up by a mask, which misses where a cluster is no power of two, and then does not find what lies before
    the place that it has in mind. What begins there or later it finds.
    """
    tracks = cluster // SECTOR
    least = -(-(HEADER.size + 4 * entries) // SECTOR)
    masked = (least + tracks - 1) & -tracks
    return -(-max(least, masked) // tracks) * cluster


def _usage(message: str) -> FormatError:
    return FormatError(message, kind=ErrorKind.USAGE)


def unit(cluster: int) -> int:
    """What runs are made of: clusters, or equal parts of those that are larger than a host takes at once."""
    return cluster if cluster <= core_limits.UNIT else min(cluster & -cluster, core_limits.MIB)


def _placed(cluster: int, entries: int, data: int, runs: Iterable[Run]) -> Generator[Edit, None, int]:
    """Clusters are stored in the order in which they come. Returns how many there are.

    A cluster of which only a part comes is allocated as a whole; the rest of it is a hole of the file.
    """
    table = _Table()
    stored, current = 0, -1
    for run in runs:
        start, end = run.start, run.start + run.length
        if start // cluster < current or -(-end // cluster) > entries:
            raise ContractViolation(f"a run at {start} is out of order or past the end of the disk")
        if start // cluster == current:
            part = min(end, (current + 1) * cluster) - start
            yield Copy(start, data + (stored - 1) * cluster + start % cluster, part)
            start += part
        if start == end:
            continue
        first = start // cluster
        count = -(-end // cluster) - first
        yield Copy(start, data + stored * cluster + start % cluster, end - start)
        yield from table.record(first, count, data // cluster + stored)
        stored += count
        current = first + count - 1
    yield from table.flush()
    return stored


class _Table:
    """BAT entries in ascending order, gathered and put in pieces; pieces without an entry stay zeros of the file."""

    __slots__ = ("_base", "_entries")

    def __init__(self) -> None:
        self._base = 0
        self._entries = array("I")

    def record(self, entry: int, count: int, index: int) -> Iterator[Edit]:
        """Entries from `entry` on lead to clusters from `index` on."""
        while count:
            if entry >= self._base + ENTRIES or not self._entries:
                yield from self.flush()
                self._base = entry
            self._entries.frombytes(bytes(4 * (entry - self._base - len(self._entries))))
            some = min(count, self._base + ENTRIES - entry)
            self._entries.extend(range(index, index + some))
            entry, count, index = entry + some, count - some, index + some

    def flush(self) -> Iterator[Edit]:
        """Puts what has been gathered."""
        if self._entries:
            if byteorder == "big":
                self._entries.byteswap()
            yield Put(HEADER.size + 4 * self._base, self._entries.tobytes())
        self._entries = array("I")


def _header(size: int, cluster: int, entries: int, data: int) -> bytes:
    sectors = size // SECTOR
    return HEADER.pack(
        *Header(
            magic=EXT_MAGIC,
            version=VERSION,
            heads=HEADS,
            cylinders=min(sectors // (HEADS * PER_TRACK), 0xFFFFFFFF),
            tracks=cluster // SECTOR,
            bat_entries=entries,
            nb_sectors=sectors,
            in_use=0,
            data_off=data // SECTOR,
            flags=0,
            ext_off=0,
        )
    )
