"""Writing no faster than asked."""

from __future__ import annotations

import time

BURST = 0.1
"""Seconds of unused rate that may be caught up on."""


class Pace:
    """Sleeps so that `rate` bytes per second are not passed; 0 is no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic()

    def moved(self, length: int) -> None:
        """`length` more bytes were written; returns when the next may be."""
        if not self._rate:
            return
        now = time.monotonic()
        self._due = max(self._due, now - BURST) + length / self._rate
        if self._due > now:
            time.sleep(self._due - now)
