"""How a worker says why it ends: one letter before a text on its channel, or a status where it cannot speak."""

from __future__ import annotations

SAY_MEMORY, SAY_FAILED, SAY_WALL = b"M", b"X", b"W"
SAY_FORBIDDEN, SAY_FAULT, SAY_PLATFORM = b"F", b"G", b"P"
"""Of the monitor of a guest: what the guest did, or that there is no guest."""

EXIT_MEMORY = 81
EXIT_FAILED = 82
EXIT_FORBIDDEN = 83
EXIT_FAULT = 84
