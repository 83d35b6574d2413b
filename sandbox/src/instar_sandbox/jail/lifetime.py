"""A worker lives no longer than its parent, and nobody of its user looks into it."""

from __future__ import annotations

import os

from instar_sandbox.jail import libc

SIGKILL = 9


def tie(parent: int) -> None:
    """The kernel kills this process when its parent ends; it cannot be traced or dumped by processes of its user.

    A change of credentials undoes both, so this comes after the last one. If the parent has ended before, so does this.
    """
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.prctl(libc.PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
