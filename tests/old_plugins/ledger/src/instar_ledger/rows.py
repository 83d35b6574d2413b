"""The rows of a table while content is written: where runs go."""

from instar_core.types import Copy, Kind
from instar_ledger import layout as L


def placed(run, table, space, hide):
    """The edits that place a run; the table says where. With `hide` zeros hide what lies below."""
    first = run.start // L.BLOCK
    count = -(-run.length // L.BLOCK)
    if run.coding:
        sectors = -(-run.stored // L.SECTOR)
        place = space.pack(sectors)
        table[first] = place | sectors
        yield Copy(run.start, place, run.stored)
    elif run.kind == Kind.ZERO:
        for number in range(first, first + count):
            table[number] = L.ZERO if hide else L.ABSENT
    else:
        done = 0
        while done < count:
            place, some = space.take(count - done)
            for number in range(some):
                table[first + done + number] = place + number * L.BLOCK
            start = run.start + done * L.BLOCK
            yield Copy(start, place, min(some * L.BLOCK, run.start + run.length - start))
            done += some
