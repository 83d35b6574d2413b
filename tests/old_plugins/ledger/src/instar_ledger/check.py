"""Checking a ledger disk: what its entries name, and what nothing needs."""

from instar_core.ranges import Ranges
from instar_core.types import NOWHERE, Finding, Severity, Tally
from instar_ledger import layout as L
from instar_ledger import page as pages
from instar_ledger.space import Space, stretch, used


def findings(image):
    page = pages.read(image)
    mode = image.options.get("repair")
    taken = Ranges(2 * L.BLOCKS)
    taken.add(0, L.BLOCK)
    taken.add(page.place, page.length)
    if page.keys:
        taken.add(page.keys[0], L.MATERIAL)
    known = set()
    for table in page.tables:
        for number in sorted(outside(table, image.main.size)):
            told = "Repairing" if mode == "all" else "ERROR"
            text = f"{told} block {number}: nothing lies at {table[number]}"
            yield Finding(Severity.CORRUPTION, text, repairable=True)
        known |= {entry for entry in table if entry > L.ZERO}
    for entry in known:
        taken.add(*stretch(entry))
    for place in taken.overlaps():
        yield Finding(Severity.CORRUPTION, f"ERROR what lies at {place} lies over something else", place)
    spare = (image.main.size - Space(used(page)).end) // L.BLOCK
    if spare > 0:
        text = f"{'Repairing' if mode else 'ERROR'} {spare} blocks at the end of the file: nothing needs them"
        yield Finding(Severity.LEAK, text, NOWHERE, spare, repairable=True)
    there = [entry for entry in page.table if entry > L.ZERO]
    compressed = sum(1 for entry in there if entry & L.SECTORS)
    yield Tally(len(page.table), len(there), 0, compressed, Space(used(page)).end)


def outside(table, size):
    """The numbers of the blocks whose content would lie outside the file, or in its head."""
    for number, entry in enumerate(table):
        if entry > L.ZERO:
            place, length = stretch(entry)
            if place < L.BLOCK or place + length > size:
                yield number
