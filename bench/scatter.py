"""A qcow2 image in many pieces, without writing any of them: its clusters change places in the tables."""

from __future__ import annotations

import array
import os
import random
import struct
import sys

SEED = 20240302
OFFSET = 0x00FF_FFFF_FFFF_FE00
"""Bits of an entry of the L1 table that say where the L2 table lies."""


def scatter(path: str) -> None:
    """The entries of each L2 table are in random order. All clusters of the image have to be allocated."""
    order = random.Random(SEED)
    file = os.open(path, os.O_RDWR)
    try:
        head = os.pread(file, 104, 0)
        cluster = 1 << struct.unpack_from(">I", head, 20)[0]
        count, place = struct.unpack_from(">IQ", head, 36)
        for (entry,) in struct.iter_unpack(">Q", os.pread(file, count * 8, place)):
            table = array.array("Q", os.pread(file, cluster, entry & OFFSET))
            if sys.byteorder == "little":
                table.byteswap()
            used = [each for each in table if each]
            order.shuffle(used)
            table[: len(used)] = array.array("Q", used)
            if sys.byteorder == "little":
                table.byteswap()
            os.pwrite(file, table.tobytes(), entry & OFFSET)
    finally:
        os.close(file)
