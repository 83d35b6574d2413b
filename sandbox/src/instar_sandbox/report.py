"""Which walls this machine has: each is tried in a child of its own, which the caller survives unchanged."""

from __future__ import annotations

import fcntl
import os
import resource
import warnings
from typing import TYPE_CHECKING, NamedTuple

from instar_sandbox.errors import JailError, WallError
from instar_sandbox.jail import descriptors, landlock, lifetime, limits, namespaces, privileges, seccomp, signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MEMORY = 1 << 34
SIGSYS = 31


class Wall(NamedTuple):
    """A wall: whether workers are refused without it, whether it stands here, and what is to be said about it."""

    name: str
    mandatory: bool
    works: bool
    why: str


def walls() -> list[Wall]:
    """Every wall of the process platform, as it is on this machine for this user."""
    return [Wall(name, mandatory, *tried(trial)) for name, mandatory, trial in TRIALS]


def tried(trial: Callable[[], str]) -> tuple[bool, str]:
    """(it works, why) of a trial that runs in a forked child; one that the kernel kills for a call it made works."""
    hear, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child takes no lock that a thread could hold
        held = signals.hold()
        try:
            pid = os.fork()
            if pid == 0:
                _in_child(trial, tell)
        finally:
            signals.release(held)
    os.close(tell)
    with open(hear, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return number == SIGSYS, said if number == SIGSYS else f"ended by signal {number}"
    return os.WEXITSTATUS(status) == 0, said


def _in_child(trial: Callable[[], str], tell: int) -> NoReturn:
    code, said = 1, "the trial failed"
    try:
        said = trial()
        code = 0
    except (WallError, JailError, OSError, ValueError) as error:
        said = str(error)
    finally:
        try:
            os.write(tell, said.encode())
        finally:
            os._exit(code)


def _refused(path: str) -> None:
    """Opening fails. Raises WallError if it does not."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return
    raise WallError(f"{path} can still be opened")


def _limits() -> str:
    limits.work(60, MEMORY)
    limits.harm()
    _refused("/")
    return ""


def _descriptors() -> str:
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1
    mark = fcntl.fcntl(os.pipe()[0], fcntl.F_DUPFD_CLOEXEC, highest)
    descriptors.close_from(mark)
    try:
        os.fstat(mark)
    except OSError:
        return ""
    raise WallError("a descriptor stays open")


def _namespaces() -> str:
    namespaces.enter(os.geteuid() != 0)
    return "by root's right" if os.geteuid() == 0 else "by a user namespace"


def _empty_root() -> str:
    namespaces.enter(os.geteuid() != 0)
    namespaces.empty_root()
    _refused("/proc")
    return ""


def _user() -> str:
    if os.geteuid():
        return "the caller is not root"
    privileges.leave_root()
    return f"user and group {privileges.NOBODY}"


def _capabilities() -> str:
    privileges.drop_bounding_set()
    privileges.drop_capabilities()
    return ""


def _no_new_privileges() -> str:
    privileges.no_new()
    return ""


def _lifetime() -> str:
    lifetime.tie(os.getppid())
    return ""


def _landlock() -> str:
    version = landlock.abi()
    privileges.no_new()
    landlock.restrict()
    _refused("/")
    return f"ABI {version}"


def _seccomp() -> str:
    """Proved by dying: the last call is one that the filter forbids."""
    seccomp.require()
    privileges.no_new()
    seccomp.seal(0)
    os.getppid()
    raise WallError("a forbidden call returned")


TRIALS: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("closed descriptors", True, _descriptors),
    ("resource limits", True, _limits),
    ("namespaces", False, _namespaces),
    ("empty root folder", False, _empty_root),
    ("unprivileged user", False, _user),
    ("no capabilities", True, _capabilities),
    ("bound to its parent", True, _lifetime),
    ("no new privileges", True, _no_new_privileges),
    ("Landlock", False, _landlock),
    ("seccomp", True, _seccomp),
)
