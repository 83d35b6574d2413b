"""Images that are broken in known places, and instar's repair of them."""

from __future__ import annotations

from struct import pack, unpack

from instar_qcow2.check import check
from instar_qcow2.write import write

from instar_core.source import Image
from instar_core.types import Finding, Repair

CLUSTER = 65536
COPIED = 1 << 63


class Places:
    """Where the structures of an image lie, and its bytes."""

    def __init__(self, path):
        self.path = path
        self.data = bytearray(path.read_bytes())
        (self.size,) = unpack(">Q", self.data[24:32])
        self.cluster = 1 << unpack(">I", self.data[20:24])[0]
        self.l1, self.table = self.word(40), self.word(48)
        self.snapshots = self.word(64)
        self.block = self.word(self.table)
        self.l2 = self.word(self.l1) & 0x00FFFFFFFFFFFE00

    def word(self, at):
        return unpack(">Q", self.data[at : at + 8])[0]

    def poke(self, *words):
        """Writes (offset, value) as 64-bit words, or bytes as they are."""
        for at, value in words:
            data = value if isinstance(value, bytes) else pack(">Q", value)
            self.data[at : at + len(data)] = data
        self.path.write_bytes(self.data)


def plan(executor, path, mode):
    """The edits of one repair."""
    files = executor.Files(path)
    try:
        return list(write(files.image(), Repair(mode, 0, bytes(64)), ()))
    finally:
        files.close()


def perform(executor, path, edits):
    files = executor.Files(path)
    try:
        for edit in edits:
            files.apply(edit)
    finally:
        files.close()


def repair(executor, path, mode="all", rounds=8):
    """Repairs until there is nothing to do any more; the number of plans."""
    for number in range(rounds):
        edits = plan(executor, path, mode)
        if not edits:
            return number
        perform(executor, path, edits)
    raise AssertionError("the repair comes to no end")


def lines(executor, path, mode=None):
    """What check tells, while repairing if a mode is given."""
    files = executor.Files(path)
    try:
        image = Image(files.image().devices, {"check": True, "repair": mode} if mode else {"check": True})
        return [found.text for found in check(image) if isinstance(found, Finding)]
    finally:
        files.close()
