"""ESX host sparse extents (vmfsSparse, "COWD").

Virtual Disk Format 5.0, "ESXi Host Sparse Extents"; libvmdk's description for the header.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vmdk.layout import COWD, COWD_TABLE, SECTOR, CowdHeader, Sparse
from instar_vmdk.sparse import bounded_capacity, bounded_directory, bounded_grain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source


def open_cowd(source: Source) -> Sparse:
    """How to read the COWD extent `source`. Raises FormatError for what cannot be."""
    header = CowdHeader._make(source.unpack(COWD, 0, pad=True))
    bounded_grain(header.grain_size, offset=16)
    bounded_directory(header.num_gdes, offset=24)
    capacity = bounded_capacity(header.sectors, offset=12)
    grain = header.grain_size * SECTOR
    if header.num_gdes * COWD_TABLE * grain < capacity:
        raise FormatError(
            f"a grain directory of {header.num_gdes} entries is too small for {capacity} bytes",
            kind=ErrorKind.CORRUPT,
            offset=24,
        )
    return Sparse(
        capacity=capacity,
        grain=grain,
        per_table=COWD_TABLE,
        directory=header.gd_offset * SECTOR,
        entries=-(-capacity // (grain * COWD_TABLE)),
        overhead=header.gd_offset * SECTOR,
    )
