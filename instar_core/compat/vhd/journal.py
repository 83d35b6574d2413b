"""A disk grows in place while a journal says so. Sizes are bytes.

An image is as it was or as it is to be at every moment of a change, so a journal holds nothing that would be needed to
mend it: it says for whoever finds it which change was under way. One that was left behind by a change of the same image
that was cut short is taken over by the next.
"""

from __future__ import annotations

import errno
import os

from instar_core import chain as chains
from instar_core import device as devices
from instar_core.compat.vhd.chains import FORMAT, look
from instar_core.errors import DeviceError
from instar_core.operations import resize as resizing
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.settings import Settings

FIRST = b"instar vhd resize journal 1\n"
LONGEST = 4096
"""Bytes of a journal that are looked at; one has fewer than 200."""


def resize(
    path: str,
    size: int,
    *,
    journal: str | None = None,
    shrink: bool = False,
    settings: Settings = DEFAULTS,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """The disk in the VHD at `path` has `size` bytes, rounded up to its blocks where it has any; its new size.

    What it grows by reads as zeros; it shrinks only with `shrink`. The file `journal` is there from before the first
    write until after the last. Raises DeviceError (EEXIST) where that is there already and is not the journal of a
    change of this image that was cut short, UsageError where the disk would shrink, FormatError (UNSUPPORTED) where a
    differencing disk would grow over a parent that is larger.
    """
    path = chains.plain(path)
    with look(path, settings) as found:
        before, block = found.info.virtual_size, found.info.cluster_size or 1
        name = _name(found.devices[0])
    wanted = -(-size // block) * block
    if before in (wanted, size):
        if journal is not None and _left(journal, name):
            devices.remove(journal)
        return before
    if wanted < before and not shrink:
        raise resizing.NotAsked()
    if journal is None:
        return resizing.resize(path, wanted, shrink=shrink, format=FORMAT, settings=settings, cancelled=cancelled)
    left = _left(journal, name)
    if not left:
        _begin(journal, name, before, wanted)
    done = False
    try:
        made = resizing.resize(path, wanted, shrink=shrink, format=FORMAT, settings=settings, cancelled=cancelled)
        done = True
    finally:
        if done or not left:  # else it may be that of somebody who is at it right now
            devices.remove(journal)
    return made


def _name(image: devices.Device) -> bytes:
    """What a journal calls the image: its file, whatever its name."""
    return b"file %d %d\n" % image.identity


def _left(journal: str, name: bytes) -> bool:
    """Whether a change of this very image left the journal behind; False where there is none. Raises DeviceError."""
    if not os.path.lexists(journal):
        return False
    found = devices.open_named(journal)
    try:
        text = os.pread(found.descriptor, LONGEST, 0)
    finally:
        found.close()
    if text.startswith(FIRST + name):
        return True
    why = "it is not the journal of a change of this image"
    raise DeviceError(f"Could not create '{journal}': File exists: {why}", errno=errno.EEXIST)


def _begin(journal: str, name: bytes, before: int, wanted: int) -> None:
    """The journal is on stable storage."""
    file, _ = devices.create(journal, exclusive=True)
    try:
        os.pwrite(file.descriptor, FIRST + name + b"from %d\nto %d\n" % (before, wanted), 0)
        os.fsync(file.descriptor)
    finally:
        file.close()
