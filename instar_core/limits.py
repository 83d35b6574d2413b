"""Bounds on everything that comes from an image, a plugin or a worker, each with its reason.

Formats have bounds of their own in their plugins.
"""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

PROBE_HEAD = 72 * KIB
"""Bytes of the start of a file that a probe sees: ISO 9660 is recognised at 32769, btrfs at 65600."""

PROBE_TAIL = 4 * KIB
"""Bytes of the file's end that a probe sees: VHD footer (512) and dmg trailer (512) with room."""

VIRTUAL_SIZE = (1 << 63) - 512
"""Largest virtual disk: what a signed 64-bit sector-aligned offset can address."""

READ_ONCE = 64 * MIB
"""Most that a plugin may read in one call: the largest table of a supported format is 32 MiB."""

PAGE = 64 * KIB
"""Reads of a plugin are served from pages of this size."""

PAGES = 64
"""Pages kept by a source."""

PAGES_AHEAD = 16
"""Pages that a source reads at once where reads go forward."""

FRAME = 8 * MIB
"""Largest frame on the wire between a worker and the host."""

WIRE_DEPTH = 16
"""Deepest nesting of a value on the wire."""

WIRE_ITEMS = 1 << 20
"""Most items of one value on the wire."""

BATCH = 4096
"""Extents, runs or edits that cross in one frame."""

REFERENCES = 4096
"""Files that one image may name: a 2 TiB VMDK in 2 GiB extents names 1,024."""

NAME = 4095
"""Longest name of a file that an image may name: PATH_MAX less the NUL."""

CODINGS = 16
"""Ways of coding that one image may use."""

UNIT = 64 * MIB
"""Largest unit of a coding or a geometry."""

SNAPSHOTS = 65536
"""Snapshots that one image may have: the bound of qcow2."""

BITMAPS = 65535
"""Bitmaps that one image may have: the bound of qemu."""

BITMAP = GIB
"""Most bytes that one change of a bitmap writes: qemu's bounds are 512 MiB of bits and 64 MiB of directory."""

CHAIN_DEPTH = 200
"""Longest backing chain: libvirt's bound."""

MESSAGE = 500
"""Longest message that a worker may send, in printable characters."""

FINDINGS = 1 << 24
"""Findings after which a check is stopped."""

OPTION = 64 * KIB
"""Longest option list on the command line."""

PUT = 4 * MIB
"""Largest piece of metadata that a plugin puts in one edit: fits a frame."""

WORKER_MEMORY = GIB
"""Address space of a worker: what OpenStack gives to the whole command."""

WORKER_CPU = 30
"""CPU seconds of a worker for info and probe: what OpenStack gives."""

MAP_CPU = 120
"""CPU seconds of a worker for map and check at the least."""

MAP_CPU_PER_GIB = 60
"""Further CPU seconds of a map or check for every GiB of the file: its metadata cannot be larger."""

CODEC_CPU = 3600
"""CPU seconds of a codec worker, which serves one whole copy."""

CODEC_BATCH = 4 * MIB
"""Decoded bytes of one batch that a codec worker is given."""

KEY_CPU = 300
"""CPU seconds of a key worker: the slowest key slots that the formats' own bounds let pass take minutes."""

PBKDF2_ITERATIONS = 1 << 26
"""Most PBKDF2 iterations of a key slot or a digest that are tried or chosen: about a minute of one core. Tools choose
them for 1 to 2 seconds on the machine that makes the volume; only unlocking is refused, never info."""

ARGON2_MEMORY = GIB
"""Most memory of an Argon2 key slot: what cryptsetup gives at most unless told otherwise. A key worker has this much
beside its own, and only for such a slot."""

ARGON2_LANES = 64
"""Most lanes of an Argon2 key slot: cryptsetup makes up to 4."""

ARGON2_WORK = 1 << 27
"""Most passes of an Argon2 key slot times KiB of its memory: a hundred passes over a GiB, about two minutes."""

KEPT = 4 * MIB
"""Bytes of a stream that are kept to tell whether it is of one format: the largest, a VMDK descriptor,
has 1 MiB; key material of LUKS 128 KiB."""

KEPT_PIECES = 8
"""Pieces of a stream that may be asked for to tell whether it is of one format, beside those it begins with."""

SPOOL = 64 * GIB
"""Most bytes of a source that are copied to a file where it cannot be served in place: a large image, and less than
what a machine that converts images has to have free."""

SOURCE_PATIENCE = 60
"""Seconds in which a source has to make progress: what a storage that fails over to its second head may take."""

UNPACKED = 2 << 40
"""Most bytes that are unpacked from an archive: what one VHD file can have."""

ARCHIVE_HEADER = 64 * KIB
"""Most bytes of a name, or of the attributes of a member, in an archive."""
