"""Refcounts are stored and held in the width that each needs."""

from __future__ import annotations

from array import array
from random import Random

import pytest
from instar_qcow2.counters import bytes_of, decoded, encoded, widened

WIDTHS = (1, 2, 4, 8, 16, 32, 64)


def stored(values, bits):
    """By the specification: big-endian where a refcount takes bytes, the lowest bits first where several share one."""
    if bits >= 8:
        return b"".join(value.to_bytes(bits // 8, "big") for value in values)
    each = 8 // bits
    groups = (values[at : at + each] for at in range(0, len(values), each))
    return bytes(sum(value << bits * at for at, value in enumerate(group)) for group in groups)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("most", [0, 1, 255, 256, 65535, 65536, 1 << 32, (1 << 64) - 1])
def test_refcounts_are_read_and_stored_as_specified_in_the_narrowest_items(bits, most):
    top = min(most, (1 << bits) - 1)
    values = [Random(bits).randint(0, top) for _ in range(63)] + [top]
    block = stored(values, bits)
    held = decoded(block, bits)
    assert list(held) == values
    assert held.itemsize == bytes_of(top)
    assert encoded(held, bits) == block


@pytest.mark.parametrize("old", [1, 2, 4, 8])
@pytest.mark.parametrize("new", [1, 2, 4, 8])
def test_wider_items_hold_the_same(old, new):
    held = widened(array("B", range(200)), old)
    assert (list(widened(held, new)), widened(held, new).itemsize) == (list(range(200)), new)


@pytest.mark.parametrize("bits", WIDTHS)
def test_held_refcounts_are_stored_in_any_width_that_they_fit_in(bits):
    values = [0, 1] * 32
    for width in (1, 2, 4, 8):
        assert encoded(widened(array("B", values), width), bits) == stored(values, bits)
