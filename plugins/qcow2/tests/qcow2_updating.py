"""Writes content into images in place, and keeps what their disks must read as."""

from __future__ import annotations

import os
from typing import NamedTuple

from instar_core.changing import Changing
from instar_core.keyring import Keyring
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.types import Empty

PASSPHRASE = b"open sesame"


class Write(NamedTuple):
    """Content at a place of the disk; None is zeros that are known to be zeros."""

    start: int
    data: bytes | None
    length: int = 0


def settings(keyed):
    return Settings(sandbox="inline", policy="qemu", keyring=Keyring({"s": bytearray(PASSPHRASE)}) if keyed else None)


def opened(path, keyed):
    options = {"encrypt.key-secret": "s"} if keyed else None
    return Changing(str(path), settings(keyed), format="qcow2", options=options)


def stretches(writes, size, unit):
    """(start, end, zeros) in whole units, ascending, none twice."""
    made = []
    for start, data, length in sorted(writes, key=lambda write: write.start):
        end = min(size, start + (length if data is None else len(data)))
        first, last = start // unit * unit, min(size, -(-end // unit) * unit)
        if made and first < made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], last), False)
        elif first < last:
            made.append((first, last, data is None and (first, last) == (start, end)))
    return made


def update(path, model, writes, *, compress=False, keyed=False):
    """The writes are in the image at `path` and in `model`, a bytearray of what its disk reads as; returns the unit."""
    units = []
    beside = str(path) + ".content"
    source = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def pieces(unit):
        units.append(unit)
        for start, data, length in writes:
            put = bytes(length) if data is None else data
            end = min(len(model), start + len(put))
            model[start:end] = put[: end - start]
        os.pwrite(source, model, 0)
        for start, end, zeros in stretches(writes, len(model), unit):
            yield Piece(start, end - start, zeros, source, start)

    try:
        with opened(path, keyed) as image:
            image.update(pieces, compress=compress)
    finally:
        os.close(source)
        os.unlink(beside)
    return units[0]


def empty(path, *, keyed=False):
    """The image holds nothing of its own."""
    with opened(path, keyed) as image:
        image.apply(Empty())


def noise(random, length):
    """Content that cannot be compressed, so different in every sector of 512 bytes."""
    return random.randbytes(length)


def drawn(random, size, count):
    """So many writes of every kind, at random places that are multiples of 512."""
    made = []
    for _ in range(count):
        start = 512 * random.randrange(size // 512)
        length = min(size - start, 512 * random.randrange(1, random.choice((4, 64, 1024))))
        kind = random.random()
        if kind < 0.3:
            made.append(Write(start, None, length))
        elif kind < 0.6:
            made.append(Write(start, bytes((random.randrange(1, 256),)) * length))
        else:
            made.append(Write(start, noise(random, length)))
    return made
