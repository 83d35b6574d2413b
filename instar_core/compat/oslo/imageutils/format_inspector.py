"""oslo_utils.imageutils.format_inspector: which format a stream or a file has, and whether it is safe.

Everything that is parsed is parsed in a sandbox.
"""

from __future__ import annotations

from instar_core.compat.oslo.imageutils.chunks import chunks, opened
from instar_core.compat.oslo.imageutils.formats import (
    GPTInspector,
    ISOInspector,
    QcowInspector,
    QEDInspector,
    RawFileInspector,
    VDIInspector,
    VHDInspector,
    VHDXInspector,
    VMDKInspector,
)
from instar_core.compat.oslo.imageutils.inspector import ContainerFileInspector, FileInspector
from instar_core.compat.oslo.imageutils.luks import LUKSInspector
from instar_core.compat.oslo.imageutils.regions import CaptureRegion, EndCaptureRegion
from instar_core.compat.oslo.imageutils.safety import (
    LOG,
    ImageFormatError,
    SafetyCheck,
    SafetyCheckFailed,
    SafetyViolation,
)
from instar_core.compat.oslo.imageutils.wrapper import ALL_FORMATS, InspectWrapper
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.settings import Settings

__all__ = [
    "ALL_FORMATS",
    "CaptureRegion",
    "ContainerFileInspector",
    "EndCaptureRegion",
    "FileInspector",
    "GPTInspector",
    "ISOInspector",
    "ImageFormatError",
    "InspectWrapper",
    "LOG",
    "LUKSInspector",
    "QEDInspector",
    "QcowInspector",
    "RawFileInspector",
    "SafetyCheck",
    "SafetyCheckFailed",
    "SafetyViolation",
    "VDIInspector",
    "VHDInspector",
    "VHDXInspector",
    "VMDKInspector",
    "detect_file_format",
    "get_inspector",
]

CHUNK = 4096


def get_inspector(format_name: str) -> type[FileInspector] | None:
    """The class of inspectors of a format; None for one that is not known."""
    return ALL_FORMATS.get(format_name)


def detect_file_format(
    filename: str, tracing: bool = False, params: dict[str, str] | None = None, settings: Settings = DEFAULTS
) -> FileInspector | None:
    """The inspector of the file's format, that of raw where none is recognised. No more is read than that takes.

    Raises ImageFormatError where several formats match, and OSError where the file cannot be read.
    """
    with opened(filename) as file:
        wrapper = InspectWrapper(file, tracing=tracing, params=params, settings=settings)
        try:
            for _ in chunks(wrapper, CHUNK):
                if wrapper.format:
                    return wrapper.format
        finally:
            wrapper.close()
        return wrapper.format
