"""Where snapshots are kept between programs."""

from __future__ import annotations

import os

SYSTEM_FOLDER = "/var/cache/instar-sandbox"


def folder() -> str | None:
    """This user's folder, whether it exists or not: for root the system's, never one that the environment names.

    None for a user who has no home and no folder for caches.
    """
    if os.geteuid() == 0:
        return SYSTEM_FOLDER
    place = os.environ.get("XDG_CACHE_HOME") or ""
    if not place.startswith("/"):
        home = os.environ.get("HOME") or ""
        if not home.startswith("/"):
            return None
        place = home + "/.cache"
    return place + "/instar-sandbox"


def exists() -> bool:
    """Something may have been prepared for this user: a first look that costs next to nothing."""
    place = folder()
    return place is not None and os.path.isdir(place)
