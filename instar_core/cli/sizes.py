"""Sizes as qemu-img writes them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_size(size: int, *, plain: bool = False) -> str:
    """A size for people: three significant figures as printf's %.3g has them, with qemu's choice of unit.

    The unit changes where 1000 of it are reached, so that 1023488 bytes are `1e+03 KiB`. With `plain` the unit changes
    at 1024, and one decimal is shown where there is a fraction.
    """
    if plain:
        index = min(max(size.bit_length() - 1, 0) // 10, len(UNITS) - 1)
        value = size / (1 << 10 * index)
        digits = f"{value:.1f}"
        return f"{digits.removesuffix('.0')} {UNITS[index]}"
    index = max(0, _exponent(size / (1000 / 1024)) // 10)
    return f"{size / (1 << 10 * index):.3g} {UNITS[index]}"


def _exponent(value: float) -> int:
    """Of the power of two just below (frexp's exponent less one), without importing math."""
    if value < 1:
        return 0
    _, _, exponent = value.hex().partition("p")
    return int(exponent)


def signed(value: int) -> int:
    """The 64-bit number as qemu prints its integers: from 2^63 on they are negative."""
    return value - (1 << 64) if value >> 63 else value
