"""The header of a qcow2 image. Source: docs/interop/qcow2.rst of QEMU, "Header"."""

from __future__ import annotations

from struct import Struct

from instar_core.worker.stream.words import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

MAGIC = b"QFI\xfb"
HEADER = Struct(">4sIQIIQ")
"""magic, version, backing_file_offset, backing_file_size, cluster_bits, size"""
FIELDS = ("magic", "version", "bf_offset", "bf_sz", "cluster_bits", "size")
FEATURES = Struct(">Q")
INCOMPATIBLE_FEATURES = 72
LEAST = 80
"""Bytes up to the end of the incompatible features."""


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """Safe is an image that names no other file and has no feature but the first `feature_bits`, nor the one of number
    `data_file_bit`.

    A signature in a file too short for a header is a match too, for QEMU takes what is missing for zeros.
    """
    header = pieces["header"]
    if not header.done or not header.data.startswith(MAGIC):
        return Verdict(False)
    fields = dict(zip(FIELDS, HEADER.unpack(header.padded(HEADER.size)), strict=True))
    (features,) = FEATURES.unpack_from(header.padded(LEAST), INCOMPATIBLE_FEATURES)
    failures = {}
    if fields["bf_offset"]:
        failures["backing_file"] = "Image has a backing file"
    if features >> options["data_file_bit"] & 1:
        failures["data_file"] = "Image has data_file set"
    if fields["version"] not in (2, 3):
        failures["unknown_features"] = "Unsupported qcow2 version"
    elif fields["version"] == 3 and features >> options["feature_bits"]:
        failures["unknown_features"] = "Unknown QCOW2 features found"
    return Verdict(True, fields["size"], failures=failures, facts=fields)
