"""The numbers at which products and sums of a field overflow, and what an image with one of them is to come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

HALF, WORD, LONG, TOP, ALL = 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1
"""The sign of 32 bits, the most that 32 bits hold, one more; the sign of 64 bits, and the most that they hold."""


class Opens(NamedTuple):
    """The image opens, for what the field claims is not looked at or does no harm.

    `map` is what map says instead of a map, if it cannot make one; `check` is the exit code of check.
    """

    map: str = ""
    check: int = 0


Table = Mapping[str, Mapping[str, Mapping[tuple[int, ...], str | Opens]]]
"""By format, field and values: the refusal, in which {value} stands for the value, or that the image opens."""
