"""What an image may refer to. Names on the command line are the user's own and free of this."""

from __future__ import annotations

import os

from instar_core import limits
from instar_core.errors import PolicyError, UsageError
from instar_core.types import Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.device import Place
    from instar_core.settings import Settings
else:
    from instar_core.record import NamedTuple


class Policy(NamedTuple):
    """Rules for references. Without `judged` everything goes, as in qemu."""

    backing: bool = True
    """A backing file may be followed."""
    data: bool = True
    """An external data file may be opened."""
    extents: bool = True
    """Further extent files may be opened."""
    declared: bool = True
    """A backing file's format must be declared and be what it is; raw needs evidence."""
    confined: bool = True
    """Data files and extents must lie at or below the image's own folder."""
    devices: bool = True
    """Block devices may be referred to."""
    judged: bool = True
    cpu: int = limits.WORKER_CPU
    """CPU seconds of a worker that says what an image is."""
    memory: int = limits.WORKER_MEMORY
    """Bytes of address space of a worker that parses."""


PRESETS = {
    "default": Policy(),
    "untrusted": Policy(backing=False, data=False, extents=False, devices=False),
    "strict": Policy(backing=False, data=False, extents=False, devices=False),
    "openstack": Policy(data=False, extents=False),
    "proxmox": Policy(data=False, extents=False),
    "ovirt": Policy(data=False, extents=False),
    "qemu": Policy(declared=False, confined=False, judged=False),
}
"""untrusted and strict refuse every reference. The platforms' ready rules follow what each of them checks by hand:
chains of its own making are followed, data files and further extents are not. All have the bounds that the platforms
give to the whole of qemu-img info: 30 s (Nova and vdsm; Cinder 60 s), 1 GiB (Glance, Cinder and vdsm; Nova 2 GiB)."""

NOUNS = {Role.BACKING: "backing file", Role.DATA: "data file", Role.EXTENT: "extent"}


def policy(settings: Settings) -> Policy:
    """The policy that the settings name. Raises UsageError for a name that does not exist."""
    found = PRESETS.get(settings.policy)
    if found is None:
        raise UsageError(f"image policy '{settings.policy}' does not exist; there are {', '.join(PRESETS)}")
    return found


def allowed(role: str, settings: Settings) -> str:
    """Why references of this role are not followed at all; empty where they may be."""
    rules = policy(settings)
    may = {Role.BACKING: rules.backing, Role.DATA: rules.data, Role.EXTENT: rules.extents}[role]
    return "" if may else f"the image policy '{settings.policy}' allows no {NOUNS[role]}"


def judge(role: str, place: Place, home: str, settings: Settings) -> None:
    """Nothing happens if the place may be used; else PolicyError. `home` is the real folder of the image that names
    it."""
    rules = policy(settings)
    noun = NOUNS[role]
    kind = place.described()
    if kind:
        raise PolicyError(f"the {noun} '{place.path}' is {kind}", path=place.path)
    refused = allowed(role, settings)
    if refused:
        raise PolicyError(f"{refused}: '{place.path}'", path=place.path)
    if not rules.judged:
        return
    if place.block and not rules.devices:
        raise PolicyError(f"the {noun} '{place.path}' is a block device", path=place.path)
    if settings.roots:
        if not any(inside(place.real, os.path.realpath(root)) for root in settings.roots):
            raise PolicyError(f"the {noun} '{place.path}' lies outside the allowed folders", path=place.path)
    elif role != Role.BACKING and rules.confined and not inside(place.real, home):
        raise PolicyError(f"the {noun} '{place.path}' lies outside the image's own folder {home}", path=place.path)


def inside(path: str, folder: str) -> bool:
    """Whether the real path lies in the folder or below it."""
    return path.startswith(folder.rstrip("/") + "/")
