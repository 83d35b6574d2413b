"""Which files make a chain, how large their disks are, and what they name as their parents. Sizes are bytes."""

from __future__ import annotations

import os
import stat
from itertools import pairwise

from instar_core import chain as chains
from instar_core import limits
from instar_core.errors import ErrorKind, FormatError, UsageError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_core.chain import Member
    from instar_core.settings import Settings

FORMAT = "vpc"
"""The name of the format VHD."""


def look(path: str, settings: Settings) -> Member:
    """The VHD at `path`, alone, open to be asked what it says of itself; the caller's to close."""
    return chains.open_member(path, settings, "info", format=FORMAT, whole=False)


def virtual_size(path: str, *, settings: Settings = DEFAULTS) -> int:
    """The size of the disk in the VHD at `path`. No other file is opened."""
    with look(path, settings) as found:
        return found.info.virtual_size


def parent(path: str, *, settings: Settings = DEFAULTS) -> str | None:
    """Where the parent of the VHD at `path` is said to be; None where it has none. It is not looked for."""
    with look(path, settings) as found:
        if found.info.blocked:
            raise FormatError(found.info.blocked, path=path)
        return found.backing_path()


def depth(path: str, *, settings: Settings = DEFAULTS) -> int:
    """How many files the chain of the VHD at `path` has, itself included. Parents are followed as policy allows."""
    with chains.open_chain(path, settings, "info", format=FORMAT, whole=False, shallow=True) as top:
        return len(top.members())


def discover_chain(folder: str) -> list[str]:
    """The files 0.vhd, 1.vhd, … of the folder up to the first that is not there, the topmost child first.

    Nothing of them is read. Raises FormatError (REFUSED) for one that is no regular file, links included, (LIMIT) for
    more than limits.CHAIN_DEPTH.
    """
    found: list[str] = []
    while True:
        path = os.path.join(folder, f"{len(found)}.vhd")
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return found
        if not stat.S_ISREG(mode):
            raise FormatError("it is no regular file", kind=ErrorKind.REFUSED, path=path)
        if len(found) == limits.CHAIN_DEPTH:
            raise FormatError(f"the chain is longer than {limits.CHAIN_DEPTH} images", kind=ErrorKind.LIMIT, path=path)
        found.append(path)


def set_parent(path: str, parent: str, *, settings: Settings = DEFAULTS) -> None:
    """The differencing VHD at `path` names the VHD at `parent`, relative to its own folder, as its parent.

    Nothing else of it changes, and nothing is copied. Neither the parent that it named before nor what the new parent
    names is opened. Raises FormatError (UNSUPPORTED) where it is no differencing disk, UsageError for its own parent.
    """
    import time

    from instar_core.changing import Changing
    from instar_core.making import describe_backing
    from instar_core.types import Rebase

    with Changing(path, settings, format=FORMAT) as image:
        with look(parent, settings._replace(force_share=True)) as found:
            if found.devices[0].identity in image.held:
                raise UsageError(f"'{path}' cannot be its own parent")
            backing = describe_backing(found, _seen_from(parent, path), FORMAT)
        image.apply(Rebase(backing, time.time_ns(), os.urandom(64)))


def _seen_from(parent: str, child: str) -> str:
    """The parent's name as it counts from the folder that the child really is in."""
    return os.path.relpath(os.path.realpath(parent), os.path.dirname(os.path.realpath(child)))


def fix_chain(chain: Sequence[str], *, settings: Settings = DEFAULTS) -> None:
    """Each file of the chain names the next one as its parent. The last one is left as it is."""
    for child, next_ in pairwise(chain):
        set_parent(child, next_, settings=settings)
