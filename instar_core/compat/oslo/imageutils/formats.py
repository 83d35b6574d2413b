"""The formats that are told apart: which regions they need and which safety checks they have."""

from __future__ import annotations

from instar_core import limits
from instar_core.compat.oslo.imageutils.inspector import FileInspector
from instar_core.compat.oslo.imageutils.jailed import JailedInspector
from instar_core.compat.oslo.imageutils.regions import CaptureRegion
from instar_core.compat.oslo.imageutils.safety import SafetyCheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECTOR = 512


class RawFileInspector(FileInspector):
    """Anything is raw."""

    NAME = "raw"

    def _initialize(self) -> None:
        self.add_safety_check(SafetyCheck.null())

    @property
    def format_match(self) -> bool:
        """True."""
        return True


class QcowInspector(JailedInspector):
    """QEMU's qcow2, and the first version of it, which is never safe."""

    NAME = "qcow2"
    I_FEATURES_DATAFILE_BIT = 2
    """Number of the incompatible feature that the content lies in another file."""
    I_FEATURES_MAX_BIT = 4
    """Number of the first incompatible feature that is not known."""

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(0, SECTOR))
        for name in ("backing_file", "data_file", "unknown_features"):
            self._add_check(name)

    def _options(self) -> dict[str, Any]:
        return {"feature_bits": self.I_FEATURES_MAX_BIT, "data_file_bit": self.I_FEATURES_DATAFILE_BIT}

    @property
    def qemu_header_info(self) -> dict[str, Any]:
        """The first fields of the header: magic, version, bf_offset, bf_sz, cluster_bits, size; none before they are
        known."""
        return dict(self._said().facts)

    def check_backing_file(self) -> None:
        """Raises SafetyViolation if the image has a backing file."""
        self._check("backing_file")

    def check_data_file(self) -> None:
        """Raises SafetyViolation if the content lies in another file."""
        self._check("data_file")

    def check_unknown_features(self) -> None:
        """Raises SafetyViolation if the version or a feature is not known."""
        self._check("unknown_features")


class QEDInspector(JailedInspector):
    """QEMU's QED, which is recognised and never allowed."""

    NAME = "qed"

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(0, SECTOR))
        self.add_safety_check(SafetyCheck.banned())

    @property
    def virtual_size(self) -> int:
        """Bytes of the stream up to here."""
        return self._total_count


class VHDInspector(JailedInspector):
    """Virtual PC's and Hyper-V's VHD, unless it is fixed: such a one is known only by its end, and is raw here."""

    NAME = "vhd"

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(0, SECTOR))
        self.add_safety_check(SafetyCheck.null())


class VHDXInspector(JailedInspector):
    """Hyper-V's VHDX."""

    NAME = "vhdx"

    def _initialize(self) -> None:
        self.new_region("ident", CaptureRegion(0, 32))
        self.new_region("header", CaptureRegion(192 * limits.KIB, 64 * limits.KIB))
        self.add_safety_check(SafetyCheck.null())


class VMDKInspector(JailedInspector):
    """VMware's VMDK, of which only the types that consist of one file are safe."""

    NAME = "vmdk"
    DESC_OFFSET = 0x200
    DESC_MAX_SIZE = limits.MIB - 1
    GD_AT_END = (1 << 64) - 1
    MIN_SPARSE_HEADER = 64
    TEXT = 4 * limits.KIB

    def _initialize(self) -> None:
        header = CaptureRegion(0, SECTOR)
        header.open_ended = True
        self.new_region("header", header)
        self.new_region("descriptor", CaptureRegion(0, self.TEXT, min_length=4))
        self._add_check("descriptor")

    def new_region(self, name: str, region: CaptureRegion) -> None:
        """The region is kept too, and what is in it is checked."""
        super().new_region(name, region)
        if name == "footer":
            self._add_check("footer")

    @property
    def vmdktype(self) -> str:
        """The descriptor's createType in lower case; formatnotfound where there is none."""
        return str(self._said().facts.get("vmdktype", "formatnotfound"))

    def check_descriptor(self) -> None:
        """Raises SafetyViolation if the descriptor holds what is not known, or names other files."""
        self._check("descriptor")

    def check_footer(self) -> None:
        """Raises SafetyViolation if the footer says something else than the header."""
        self._check("footer")


class VDIInspector(JailedInspector):
    """VirtualBox's VDI."""

    NAME = "vdi"

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(0, SECTOR))
        self.add_safety_check(SafetyCheck.null())


class ISOInspector(JailedInspector):
    """ISO 9660 and UDF volumes."""

    NAME = "iso"

    def _initialize(self) -> None:
        self.new_region("header", CaptureRegion(32 * limits.KIB, 2 * limits.KIB))
        self.add_safety_check(SafetyCheck.null())


class GPTInspector(JailedInspector):
    """Disks with a GUID partition table, or with an older one."""

    NAME = "gpt"

    def _initialize(self) -> None:
        self.new_region("mbr", CaptureRegion(0, SECTOR))
        self.add_safety_check(SafetyCheck("mbr", self.check_mbr_partitions))

    @property
    def virtual_size(self) -> int:
        """Bytes of the stream up to here."""
        return self._total_count

    def check_mbr_partitions(self) -> None:
        """Raises SafetyViolation if the table is not one that UEFI would write, or defines nothing."""
        self._check("mbr")
