"""Which blocks of the file are in use, and where there is room."""

from instar_ledger import layout as L


def used(page):
    """The numbers of all blocks that the page needs, itself and the head included."""
    blocks = {0, *covered(page.place, page.length)}
    if page.keys:
        blocks.update(covered(page.keys[0], L.MATERIAL))
    for table in page.tables:
        for entry in set(table):
            if entry > L.ZERO:
                blocks.update(covered(*stretch(entry)))
    return blocks


def stretch(entry):
    """Place and length of the content that an entry names."""
    sectors = entry & L.SECTORS
    return entry - sectors, sectors * L.SECTOR or L.BLOCK


def covered(place, length):
    return range(place // L.BLOCK, -(-(place + length) // L.BLOCK))


class Space:
    """Room that nothing uses: what is given out is in use from then on."""

    def __init__(self, blocks):
        self.blocks = set(blocks)
        self._first = 0
        self._packed = self._end = 0

    def take(self, most, least=1):
        """(place, blocks) of the first stretch of at least `least` blocks, at most `most`."""
        at = self._first
        while True:
            while at in self.blocks:
                at += 1
            if least == 1:
                self._first = at
            count = 1
            while count < most and at + count not in self.blocks:
                count += 1
            if count >= least:
                self.blocks.update(range(at, at + count))
                return at * L.BLOCK, count
            at += count

    def pack(self, sectors):
        """A place for so many sectors; several may share a block."""
        length = sectors * L.SECTOR
        if self._packed + length > self._end:
            blocks = -(-length // L.BLOCK)
            self._packed, _ = self.take(blocks, blocks)
            self._end = self._packed + blocks * L.BLOCK
        self._packed += length
        return self._packed - length

    @property
    def end(self):
        """Where the last block in use ends."""
        return (max(self.blocks) + 1) * L.BLOCK
