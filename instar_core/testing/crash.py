"""What power cuts leave of a change: every state of its files that the promises of the kernel allow.

A flush puts all that was done to its file before on stable storage. What came later is there, is missing, or is torn:
only some of the 512-byte sectors of a write made it. Files grow by themselves (as zeros) where only the end of a write
was noted. States are told apart by their content.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from instar_core.testing.executor import SECTOR, Step, play, sectors
from instar_core.testing.medium import PAGE, Disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from random import Random

FLUSHES = ("sync", "barrier")
"""Steps after which all before is safe: of one file, of all."""
NOTHING = bytes(PAGE)
MISSING, GROWN = -1, -2
"""Fates of a step: it left nothing; it left only the file as long as it needs. Others are sets of sectors, as bits."""
PATIENCE = 4
"""Times as many random states are tried as distinct ones are wanted."""


class Cut(NamedTuple):
    """Files as a power cut left them: `steps` had been asked for; `fates` says which of them did not fully happen."""

    files: list[Disk]
    steps: int
    fates: Mapping[int, int]
    digest: bytes

    def __str__(self) -> str:
        names = {MISSING: "missing", GROWN: "only its length"}
        told = [f"{step} {names.get(fate) or f'torn {fate:x}'}" for step, fate in sorted(self.fates.items())]
        return f"cut after {self.steps} steps, of which {', '.join(told) or 'none is missing'}"


def digest(files: Iterable[Disk]) -> bytes:
    """The same for files of the same content, and for no others."""
    summary = blake2b(digest_size=16)
    for disk in files:
        summary.update(b"file %d" % disk.size)
        for number in sorted(disk.pages):
            page = disk.pages[number]
            if page != NOTHING:
                summary.update(b"page %d" % number)
                summary.update(page)
    return summary.digest()


class History:
    """A change: the files before, and what was done to them."""

    def __init__(self, base: Sequence[Disk], steps: Sequence[Step], ordered: bool = False) -> None:
        """`ordered`: the file system notes that a file is longer only with what was written there."""
        self.base = list(base)
        self.steps = list(steps)
        self.ordered = ordered
        self._safe: tuple[tuple[int, ...], list[Disk]] = ((), [])

    def state(self, count: int, fates: Mapping[int, int]) -> Cut:
        """The files after `count` steps, where some of those that were not flushed have other fates than to happen."""
        last = self._flushed(count)
        if self._safe[0] != last:
            files = [disk.copy() for disk in self.base]
            for number, step in enumerate(self.steps[: max(last, default=0)]):
                if number < last[step.device]:
                    play(files, step)
            self._safe = last, files
        files = [disk.copy() for disk in self._safe[1]]
        for number in range(min(last, default=0), count):
            step = self.steps[number]
            if number >= last[step.device] and step.what not in FLUSHES:
                _happen(files, step, fates.get(number))
        return Cut(files, count, fates, digest(files))

    def open(self, count: int) -> list[int]:
        """The steps among the first `count` that a power cut can undo."""
        last = self._flushed(count)
        return [
            number
            for number in range(min(last, default=0), count)
            if self.steps[number].what not in FLUSHES and number >= last[self.steps[number].device]
        ]

    def cuts(self, random: Random, most: int) -> Iterator[Cut]:
        """At most so many distinct states, among them those after each step and at each flush, as far as that goes.

        Then come those in which a single step of a phase is missing, alone, or torn, then any.
        """
        seen: set[bytes] = set()
        for count, fates in self._chosen(random, most):
            cut = self.state(count, fates)
            if cut.digest not in seen:
                seen.add(cut.digest)
                yield cut
            if len(seen) >= most:
                return

    def _chosen(self, random: Random, most: int) -> Iterator[tuple[int, Mapping[int, int]]]:
        """What to try, the most telling first."""
        after: list[tuple[int, Mapping[int, int]]] = [(count, {}) for count in range(len(self.steps) + 1)]
        yield from _some(random, after, max(1, most // 3))
        ends = [number for number, step in enumerate(self.steps) if step.what in FLUSHES]
        if self.steps and self.steps[-1].what not in FLUSHES:
            ends.append(len(self.steps))
        phases = [(end, self.open(end)) for end in ends]
        phases = [(end, undone) for end, undone in phases if undone]
        single: list[tuple[int, Mapping[int, int]]] = []
        torn: list[tuple[int, Mapping[int, int]]] = []
        for end, undone in phases:
            for number in undone:
                others = dict.fromkeys((each for each in undone if each != number), MISSING)
                single.append((end, {number: MISSING}))
                single.append((end, others))
                for fate in self._tears(random, number):
                    torn.append((end, {number: fate}))
                    torn.append((end, {**others, number: fate}))
        yield from _some(random, single, max(1, most // 3))
        yield from _some(random, torn, max(1, most // 4))
        for _ in range(PATIENCE * most if phases else 0):
            end, undone = random.choice(phases)
            count = random.choice((end, random.choice(undone) + 1))
            yield count, self._fates(random, [number for number in undone if number < count])

    def _fates(self, random: Random, undone: Sequence[int]) -> dict[int, int]:
        fates: dict[int, int] = {}
        keep = random.choice((0.2, 0.5, 0.8))
        for number in undone:
            draw = random.random()
            if draw < keep:
                continue
            fates[number] = MISSING
            if draw > 1 - (1 - keep) / 3:
                fates[number] = random.choice(self._tears(random, number) or (MISSING,))
        return fates

    def _tears(self, random: Random, number: int) -> list[int]:
        """Ways in which the step can be torn: its first sectors, its last, any; or only the length it gives a file."""
        step = self.steps[number]
        length = len(step.data) if step.what == "write" else step.length if step.what in ("zero", "punch") else 0
        fates = [GROWN] if step.what == "write" and not self.ordered else []
        count = -(-(step.offset % SECTOR + length) // SECTOR)
        if count < 2:
            return fates
        whole = (1 << count) - 1
        cuts = range(1, count) if count <= 8 else random.sample(range(1, count), 8)
        for cut in cuts:
            fates += [(1 << cut) - 1, whole ^ ((1 << cut) - 1)]
        return [*fates, *(random.randrange(1, whole) for _ in range(4))]

    def _flushed(self, count: int) -> tuple[int, ...]:
        """For each file the number of the first step that is not on stable storage for certain."""
        last = [0] * len(self.base)
        for number, step in enumerate(self.steps[:count]):
            if step.what == "sync":
                last[step.device] = number + 1
            elif step.what == "barrier":
                last = [number + 1] * len(self.base)
        return tuple(last)


def _some(
    random: Random, plans: Sequence[tuple[int, Mapping[int, int]]], most: int
) -> Iterator[tuple[int, Mapping[int, int]]]:
    yield from plans if len(plans) <= most else random.sample(plans, most)


def _happen(files: list[Disk], step: Step, fate: int | None) -> None:
    if fate is None:
        play(files, step)
    elif fate == GROWN:
        files[step.device].truncate(max(files[step.device].size, step.offset + len(step.data)))
    elif fate >= 0:
        parts = sectors(step) if step.what == "write" else _lengths(step)
        for number, part in enumerate(parts):
            if fate >> number & 1:
                play(files, part)


def _lengths(step: Step) -> Iterator[Step]:
    """The range, sector by sector."""
    at = step.offset
    while at < step.offset + step.length:
        some = min(SECTOR - at % SECTOR, step.offset + step.length - at)
        yield step._replace(offset=at, length=some)
        at += some
