"""The header of a Parallels image, read and judged: in qemu's words, and in its order, where it refuses too."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_parallels import limits
from instar_parallels.extension import bitmaps
from instar_parallels.layout import EXT_MAGIC, HEADER, OLD_MAGIC, SECTOR, VERSION, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_parallels.extension import Stored
else:
    from instar_core.record import NamedTuple


class Disk(NamedTuple):
    """An image as reading it needs it: offsets and lengths in bytes, of the file unless it is the disk's size.

    `unit` is what BAT entries count in. `end` is the file's length rounded up to sectors. `misplaced` says that the
    header's data_off is no possible place, so that `data` is where it should have been; that is `least` else.
    """

    header: Header
    size: int
    cluster: int
    unit: int
    data: int
    least: int
    misplaced: bool
    end: int
    bitmaps: tuple[Stored, ...]

    @property
    def entries(self) -> int:
        """Entries of the BAT."""
        return self.header.bat_entries

    @property
    def extension(self) -> int:
        """Where the Format Extension lies; 0 where there is none."""
        return self.header.ext_off * SECTOR


def open_disk(source: Source) -> Disk:
    """The image. Every number that reading depends on is within its bound. Raises FormatError."""
    header = Header._make(source.unpack(HEADER, 0, pad=True))
    if header.magic not in (OLD_MAGIC, EXT_MAGIC) or header.version != VERSION:
        raise FormatError("Image not in Parallels format", offset=0)
    if not header.tracks:
        raise FormatError("Invalid image: Zero sectors per track", offset=28)
    if header.tracks > limits.TRACKS:
        raise FormatError("Invalid image: Too big cluster", kind=ErrorKind.LIMIT, offset=28)
    if header.bat_entries > limits.ENTRIES:
        raise FormatError("Catalog too large", kind=ErrorKind.LIMIT, offset=32)
    old = header.magic == OLD_MAGIC
    sectors = header.nb_sectors & 0xFFFFFFFF if old else header.nb_sectors
    if sectors > header.bat_entries * header.tracks:
        raise FormatError("Invalid image: Catalog size too small for advertised disk size", offset=36)
    if header.ext_off > limits.EXTENSION_SECTORS:
        raise FormatError("Invalid image: Too big offset", kind=ErrorKind.LIMIT, offset=56)
    cluster = header.tracks * SECTOR
    end = -(-source.size // SECTOR) * SECTOR
    least, misplaced = _data_area(header, end, old=old)
    return Disk(
        header=header,
        size=sectors * SECTOR,
        cluster=cluster,
        unit=SECTOR if old else cluster,
        data=least if misplaced or not header.data_off else header.data_off * SECTOR,
        least=least,
        misplaced=misplaced,
        end=end,
        bitmaps=bitmaps(source, header.ext_off * SECTOR, cluster, sectors) if header.ext_off else (),
    )


def _data_area(header: Header, end: int, *, old: bool) -> tuple[int, bool]:
    """Where the data area begins at the earliest, and whether data_off says something impossible."""
    least = -(-(HEADER.size + 4 * header.bat_entries) // SECTOR)
    if old and not header.data_off:
        return least * SECTOR, False
    if not old:
        least = -(-least // header.tracks) * header.tracks
    return least * SECTOR, not least <= header.data_off <= end // SECTOR
