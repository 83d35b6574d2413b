"""LUKS volumes, and with a passphrase what is inside them."""

from __future__ import annotations

import io
import os

from instar_core.compat.oslo.imageutils.formats import SECTOR
from instar_core.compat.oslo.imageutils.inspector import ContainerFileInspector
from instar_core.compat.oslo.imageutils.jailed import JailedInspector
from instar_core.compat.oslo.imageutils.regions import CaptureRegion
from instar_core.compat.oslo.imageutils.safety import LOG, SafetyViolation
from instar_core.errors import InstarError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from instar_core.settings import Settings

PASSPHRASE, LIMIT = "luks_passphrase", "luks_iter_limit"
ITERATIONS = 12_000_000


class LUKSInspector(JailedInspector, ContainerFileInspector):
    """LUKS version 1. With the parameter luks_passphrase the first sector of the payload is decrypted, and inspected.

    The parameter luks_iter_limit bounds the work that a key slot may ask for; 0 lifts that bound, not instar's own.
    """

    NAME = "luks"

    def _initialize(self) -> None:
        self._passphrase = self._params.get(PASSPHRASE)
        self._iter_limit = int(self._params.get(LIMIT, ITERATIONS))
        self.new_region("header", CaptureRegion(0, 592))
        self._add_check("version")
        self._add_check("passphrase")

    def _options(self) -> dict[str, Any]:
        return {"inner": self._passphrase is not None, "iterations": self._iter_limit}

    @property
    def header_items(self) -> dict[str, Any]:
        """The fields of the header by their names; none before they are known."""
        return dict(self._said().facts)

    @property
    def virtual_size(self) -> int:
        """Bytes of the stream up to here, less those before the payload."""
        return self._total_count - int(self.header_items.get("payload_offset", 0)) * SECTOR

    def check_version(self) -> None:
        """Raises SafetyViolation if it is not version 1."""
        self._check("version")

    def check_passphrase(self) -> None:
        """Raises SafetyViolation if there is a passphrase and it did not show what is inside."""
        if self._passphrase is not None and self.inner_format is None:
            raise SafetyViolation("Passphrase is incorrect")
        if not self._passphrase:
            LOG.info("LUKS passphrase not provided, skipping decryption/detection")

    def region_complete(self, region_name: str) -> None:
        """With the first sector of the payload there, it is decrypted and inspected. Raises ValueError where the
        passphrase opens nothing."""
        super().region_complete(region_name)
        if region_name == "encrypted_block":
            from instar_core.compat.oslo.imageutils.wrapper import InspectWrapper

            settings = self._jail.settings if self._jail else DEFAULTS
            wrapper = InspectWrapper(io.BytesIO(self._first_sector(settings)), settings=settings)
            wrapper.read(2 * SECTOR)
            wrapper.close()
            self._inner_format = wrapper.format

    def _first_sector(self, settings: Settings) -> bytes:
        """The first sector of the payload, decrypted: by what instar opens any volume with, from a copy of the kept
        regions. The sandbox that parsed them never sees the passphrase."""
        from instar_core.disk import Disk
        from instar_core.keyring import Keyring

        keyring = Keyring({"luks": str(self._passphrase).encode()})
        descriptor = copied(self._capture_regions.values())
        try:
            with Disk(
                f"/proc/self/fd/{descriptor}",
                format="luks",
                open_options={"key-secret": "luks"},
                settings=settings._replace(keyring=keyring),
            ) as disk:
                return disk.pread(SECTOR, 0)
        except InstarError as error:
            raise ValueError(f"Could not recover master key for LUKS decryption: {error}") from error
        finally:
            keyring.clear()
            os.close(descriptor)


def copied(regions: Iterable[CaptureRegion]) -> int:
    """A descriptor of a file in memory that holds the regions at their places, and nothing between them."""
    descriptor = os.memfd_create("inspected", os.MFD_CLOEXEC)
    for region in regions:
        os.pwrite(descriptor, region.data, region.offset)
    return descriptor
