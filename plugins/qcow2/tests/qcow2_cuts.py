"""What a plan of edits leaves behind when the power goes: at any of them, with some of a phase lost or torn."""

from __future__ import annotations

from instar_core.types import Barrier, Put

SECTOR = 512


def phases(edits):
    """The edits between barriers."""
    found = [[]]
    for edit in edits:
        if isinstance(edit, Barrier):
            found.append([])
        else:
            found[-1].append(edit)
    return found


def states(edits, random, most):
    """At most so many lists of edits, each of which may be all that reached the disk: what lies before a barrier is
    whole if anything behind it is there."""
    found, done = [], []
    for phase in phases(edits):
        count = len(phase)
        chosen = {tuple(range(number)) for number in range(count + 1)}
        chosen |= {tuple(at for at in range(count) if at != number) for number in range(count)}
        chosen |= {tuple(at for at in range(count) if random.random() < 0.5) for _ in range(6)}
        for some in sorted(chosen):
            kept = [phase[at] for at in some]
            found.append(done + kept)
            if kept and isinstance(kept[-1], Put) and len(kept[-1].data) > SECTOR:
                found.append(done + kept[:-1] + torn(kept[-1], random))
        done = done + phase
    random.shuffle(found)
    return found[:most]


def torn(put, random):
    """Some of the sectors of a write."""
    pieces, at = [], 0
    while at < len(put.data):
        end = min(len(put.data), at + SECTOR - (put.offset + at) % SECTOR)
        if random.random() < 0.5:
            pieces.append(Put(put.offset + at, put.data[at:end], put.device))
        at = end
    return pieces
