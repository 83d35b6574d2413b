"""A VMDK image: a sparse extent with its descriptor in it, or a descriptor alone. Source: VMware Virtual Disks,
Virtual Disk Format 5.0, "The Descriptor File" and "Hosted Sparse Extents"."""

from __future__ import annotations

from struct import Struct

from instar_core.signatures import is_vmdk_descriptor
from instar_core.worker.stream.words import Verdict, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

MAGIC = b"KDMV"
SECTOR = 512
HEADER = Struct("<4sIIQQQQIQQ")
"""magicNumber, version, flags, capacity, grainSize, descriptorOffset, descriptorSize, numGTEsPerGT, rgdOffset,
gdOffset"""
VERSIONS = (1, 2, 3)
MOST_SECTORS = 1 << 54
GD_AT_END = (1 << 64) - 1
DESCRIPTOR_OFFSET = 0x200
DESCRIPTOR_SIZE = (1 << 20) - 1
"""Most bytes of a descriptor: QEMU's bound."""
TEXT = 4096
"""Bytes of a descriptor that is a file of its own in which createType is looked for: QEMU looks in as many for its
version."""
FOOTER = 3 * SECTOR
"""Footer marker, footer and end-of-stream marker."""
MARKER = Struct("<QII496s")
"""val, size, type, pad"""
MARKER_EOS, MARKER_FOOTER = 0, 3
PAD = bytes(496)
CREATE_TYPE = 'createtype="'
LONGEST_TYPE = 64
EMBEDDED = ("monolithicsparse", "streamoptimized")
"""The types that consist of this one file."""
ACCESS = ("rw", "rdonly", "noaccess")
NOT_FOUND = "formatnotfound"


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """Safe is an image of one file whose descriptor holds nothing but what is known and names no file by a path."""
    if "header" not in pieces:
        return _alone(pieces["descriptor"])
    header = pieces["header"]
    if not header.data.startswith(MAGIC):
        return _without_signature(header, pieces)
    capacity, wanted, error = _layout(header, pieces)
    text = _text(pieces["descriptor"])
    kind = create_type(text or "")
    failures = {}
    if reason := descriptor_fault(text, kind):
        failures["descriptor"] = reason
    if "footer" in pieces and (reason := footer_fault(header.data, pieces["footer"].data)):
        failures["footer"] = reason
    sized = kind in EMBEDDED and len(pieces["descriptor"].data) == _descriptor_size(header)
    return Verdict(
        True,
        capacity * SECTOR if sized else 0,
        error=error,
        wanted=wanted,
        failures=failures,
        facts={"vmdktype": kind},
    )


def _layout(header: Piece, pieces: Mapping[str, Piece]) -> tuple[int, tuple[Wanted, ...], str]:
    """Sectors of the disk, what else is wanted, and what is wrong."""
    _, version, _, capacity, _, offset, _, _, _, directory = HEADER.unpack(header.padded(HEADER.size))
    if capacity > MOST_SECTORS:
        return 0, (), f"Capacity of {capacity} sectors is too large"
    if version not in VERSIONS:
        return capacity, (), f"Unsupported format version {version}"
    wanted = []
    if directory == GD_AT_END and "footer" not in pieces:
        wanted.append(Wanted("footer", 0, FOOTER, True))
    error = ""
    if offset * SECTOR != DESCRIPTOR_OFFSET:
        error = "Wrong descriptor location"
    elif pieces["descriptor"].offset == 0:
        wanted.append(Wanted("descriptor", DESCRIPTOR_OFFSET, _descriptor_size(header)))
    return capacity, tuple(wanted), error


def _descriptor_size(header: Piece) -> int:
    """Bytes of the embedded descriptor that are kept."""
    return int(min(HEADER.unpack(header.padded(HEADER.size))[6] * SECTOR, DESCRIPTOR_SIZE))


def _without_signature(header: Piece, pieces: Mapping[str, Piece]) -> Verdict:
    """What begins as text, or as QEMU knows a descriptor, may be one; it is kept further. Anything else is no VMDK
    image."""
    if not header.data:
        return Verdict(False)
    if not _is_text(header.data) and not is_vmdk_descriptor(header.data):
        return Verdict(False, error=f"Signature KDMV not found: {header.data[:4]!r}")
    found = _alone(pieces["descriptor"])
    if pieces["descriptor"].done:
        return found._replace(unwanted=("header",))
    return Verdict(False, wanted=(Wanted("descriptor", 0, TEXT),), unwanted=("header",))


def _alone(descriptor: Piece) -> Verdict:
    """A descriptor that is a file of its own: it says that the content lies in other files, which is never safe."""
    if not descriptor.done:
        return Verdict(False)
    text = _text(descriptor)
    readable = text if text is not None else descriptor.data.decode("ascii", "replace").lower()
    kind = create_type(readable)
    reason = "Unsupported subformat" if text else "No descriptor found"
    match = kind != NOT_FOUND or is_vmdk_descriptor(descriptor.data)
    return Verdict(match, failures={"descriptor": reason}, facts={"vmdktype": kind})


def _is_text(data: bytes) -> bool:
    return data.isascii() and all(char.isprintable() or char.isspace() for char in data.decode("ascii"))


def _text(descriptor: Piece) -> str | None:
    """The descriptor up to its padding, in lower case, for it knows no case; None where it is no ASCII text, or the
    start of a sparse extent whose descriptor is not known."""
    data = bytes(descriptor.data.partition(b"\0")[0])
    return data.decode("ascii").lower() if data.isascii() and not data.startswith(MAGIC) else None


def create_type(text: str) -> str:
    """The value of createType, or a word that says that there is none."""
    _, found, rest = text.partition(CREATE_TYPE)
    kind, closed, _ = rest[:LONGEST_TYPE].partition('"')
    return kind if found and closed else NOT_FOUND


def descriptor_fault(text: str | None, kind: str) -> str:
    """Why the descriptor is not safe; empty where it is."""
    if not text:
        return "No descriptor found"
    if kind not in EMBEDDED:
        return "Unsupported subformat"
    extents = []
    for line in [each.strip() for each in text.split("\n")]:
        key, equals, _ = line.partition("=")
        if not line or line.startswith(("#", "ddb")) or (equals and " " not in key):
            continue
        if line.split(" ")[0] not in ACCESS:
            return "Invalid VMDK descriptor data"
        extents.append(line)
    if any("/" in line for line in extents):
        return "Invalid extent filenames found"
    return "" if extents else "No extents found"


def footer_fault(header: bytes, end: bytes) -> str:
    """Why the end of the stream is not safe: a footer counts instead of the header, so it must say the same."""
    if len(end) < FOOTER or len(header) < HEADER.size:
        return "Footer is missing"
    of_header, of_footer = HEADER.unpack_from(header), HEADER.unpack_from(end, SECTOR)
    if of_header[0] != of_footer[0]:
        return "Header and footer signature do not match"
    if of_header[1] != of_footer[1]:
        return "Header and footer versions do not match"
    if of_header[5:7] != of_footer[5:7]:
        return "Footer specifies a different descriptor than header"
    if of_footer[9] == GD_AT_END:
        return "Footer indicates another footer"
    _, size, kind, pad = MARKER.unpack_from(end)
    if size or kind != MARKER_FOOTER or pad != PAD:
        return "Footer marker is invalid"
    value, size, kind, pad = MARKER.unpack_from(end, FOOTER - SECTOR)
    if value or size or kind != MARKER_EOS or pad != PAD:
        return "End-of-stream marker is invalid"
    return ""
