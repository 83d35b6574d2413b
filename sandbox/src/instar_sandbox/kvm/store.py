"""Snapshots kept between programs: where, under which rules they are trusted, and how they are prepared.

A snapshot is code. It is used only when it and its folder belong to the effective user and nobody else can write or
read them, opened without following links. A request never builds one.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib

from instar_sandbox.errors import NoPlatform
from instar_sandbox.kvm import snapshot
from instar_sandbox.kvm.abi import DEVICE
from instar_sandbox.kvm.identity import identity, unchanged
from instar_sandbox.kvm.place import folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_sandbox.kvm.snapshot import Description

F_ADD_SEALS = 1033
SEALS = 0x1 | 0x2 | 0x4 | 0x8
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE."""


class Recipe:
    """What a snapshot holds: its name, the modules that are imported in order, and a mark of the caller's.

    The mark is plain data from which the modules follow: another mark is another snapshot. To find a prepared one, the
    modules are not needed.
    """

    __slots__ = ("mark", "modules", "name")

    def __init__(self, name: str, modules: Sequence[str] = (), mark: object = None) -> None:
        self.name = name
        self.modules = tuple(dict.fromkeys([*modules, "instar_sandbox.kvm.trial"]))
        self.mark = mark


class NotPrepared(NoPlatform):
    """There is no snapshot that can be used; the message says why."""


class Snapshot:
    """An open snapshot. The descriptor is its own."""

    __slots__ = ("description", "descriptor", "name")

    def __init__(self, name: str, descriptor: int, description: Description) -> None:
        self.name = name
        self.descriptor = descriptor
        self.description = description

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The descriptor is closed. Sessions that were started go on."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def file_name(recipe: Recipe) -> str:
    """One file for each recipe and each place where Python and its packages are installed."""
    place = zlib.crc32(repr((sys.prefix, sys.base_prefix, __file__)).encode())
    return f"{recipe.name}-{sys.implementation.cache_tag}-{place:08x}.snapshot"


def find(recipe: Recipe) -> Snapshot:
    """The prepared snapshot, if it may be used here and now.

    Raises NotPrepared where preparing may help, and NoPlatform where this user has no KVM at all.
    """
    place = folder()
    if place is None:
        raise NotPrepared("no snapshot is prepared: this user has no folder for caches")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise NoPlatform(f"{DEVICE} cannot be used by this user")
    try:
        folder_descriptor = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotPrepared(f"no snapshot is prepared: {place}: {error.strerror}") from error
    try:
        trusted(os.fstat(folder_descriptor), 0o700, place)
        name = file_name(recipe)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=folder_descriptor)
    except OSError as error:
        raise NotPrepared(f"no snapshot is prepared: {place}: {error.strerror}") from error
    finally:
        os.close(folder_descriptor)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotPrepared(f"the snapshot {name} is not a regular file")
        trusted(found, 0o600, name)
        description = snapshot.read(descriptor)
        snapshot.verify(descriptor, description)
        if description.identity != identity(recipe.name, recipe.mark) or not unchanged(description):
            raise NotPrepared("the snapshot is not of what is installed, or not for this machine")
        if not description.tested:
            raise NotPrepared("the snapshot did not pass its test here")
    except (snapshot.Damaged, OSError) as error:
        os.close(descriptor)
        raise NotPrepared(
            f"the snapshot cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return Snapshot(recipe.name, descriptor, description)


def trusted(found: os.stat_result, mode: int, name: str) -> None:
    """It is this user's and has exactly this mode. Raises NotPrepared."""
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != mode:
        raise NotPrepared(f"{name} is not trusted: it must belong to this user and have the mode {mode:04o}")


def make_folder() -> str:
    """The folder is there and trusted. Raises NotPrepared."""
    place = folder()
    if place is None:
        raise NotPrepared("this user has no folder for caches: neither HOME nor XDG_CACHE_HOME is set")
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.isdir(place):
            os.mkdir(place, 0o700)
        trusted(os.stat(place, follow_symlinks=False), 0o700, place)
    except OSError as error:
        raise NotPrepared(f"{place} cannot be made: {error.strerror}") from error
    return place


def keep(recipe: Recipe, made: Snapshot) -> str:
    """The snapshot is in the folder, whole, in place of an older one; its path. Raises NotPrepared."""
    place = make_folder()
    path = f"{place}/{file_name(recipe)}"
    temporary = f"{path}.{os.getpid()}"
    try:
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(made.descriptor).st_size
            at = 0
            while at < size:
                at += os.sendfile(target, made.descriptor, at, size - at)
            os.fsync(target)
        finally:
            os.close(target)
        os.rename(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise NotPrepared(f"{path} cannot be written: {error.strerror}") from error
    return path


def memory_file(name: str) -> int:
    """A file in memory that is not sealed yet."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
