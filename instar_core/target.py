"""The files of a new image: made or taken over, filled by edits, and left invalid or removed when something fails."""

from __future__ import annotations

import os

from instar_core import device as devices
from instar_core import locks
from instar_core.errors import ContractViolation, ErrorKind, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from instar_core.device import Device
    from instar_core.types import Geometry, NewFile


class Target:
    """The files that an image is written to. Leave it by `commit`, or everything that was made is undone.

    A file that was there before is rewritten in place, never renamed over or unlinked; on failure its start is left
    zeroed. Only files that this target itself created are removed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files: list[Device] = []
        self.made: list[str] = []
        self.kept: set[int] = set()
        self.committed = False

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.committed:
            self._undo()
        for file in self.files:
            file.close()

    def take(self, path: str, *, keep: bool = False, create: bool = True) -> Device:
        """The file at `path`, empty (unless `keep`), as the next device."""
        device, made = devices.create(path) if create else (devices.open_named(path, write=True), False)
        self.files.append(device)
        if made:
            self.made.append(path)
        else:
            self.kept.add(device.descriptor)
        locks.take(device, locks.CREATE)
        locks.take(device, locks.CHANGE)
        if not keep:
            self.kept.discard(device.descriptor)
            if not device.fixed and not made:
                os.ftruncate(device.descriptor, 0)
                device.refresh()
        return device

    def take_further(self, geometry: Geometry, *, keep: bool = False, given: Collection[str] = ()) -> None:
        """The further files that the format wants: beside the image and empty, or as the user named them and of
        their size.

        `given` are the texts that the user gave: a plugin cannot pass a name of its own off as one of these.
        """
        for file in geometry.files:
            kept = keep and file.named
            device = self.take(self._beside(file, given), keep=kept, create=not kept)
            if file.named and not device.fixed and device.size < file.size:
                os.ftruncate(device.descriptor, file.size)
                device.refresh()

    def _beside(self, file: NewFile, given: Collection[str]) -> str:
        name = os.fsdecode(file.name)
        if not file.named and self.files[0].served is not None:
            raise InstarError("an image of several files cannot be made in a source", kind=ErrorKind.UNSUPPORTED)
        if name not in given if file.named else "/" in name or name in ("", ".", ".."):
            raise ContractViolation(f"a plugin wants a file named '{name}'")
        return os.path.join(os.path.dirname(self.path), name)

    @property
    def descriptors(self) -> list[int]:
        """The descriptors of the devices, device 0 first."""
        return [file.descriptor for file in self.files]

    def commit(self) -> None:
        """The image is complete and stays."""
        self.committed = True

    def _undo(self) -> None:
        for file in self.files:
            if file.path in self.made:
                devices.remove(file.path)
            elif file.descriptor not in self.kept:
                self._invalidate(file)

    @staticmethod
    def _invalidate(file: Device) -> None:
        """The file's header is gone, so that nothing half-written is taken for an image."""
        try:
            if file.fixed:
                os.pwrite(file.descriptor, bytes(4096), 0)
            else:
                os.ftruncate(file.descriptor, 0)
        except OSError:
            return
