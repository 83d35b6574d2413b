"""What a guest of a snapshot writes to at once: found by letting one run in this very process, to its first answer."""

from __future__ import annotations

import os
from struct import Struct

from instar_sandbox import frames
from instar_sandbox.kvm import layout, restore, trial
from instar_sandbox.kvm.errors import BackendError, GuestEnded
from instar_sandbox.kvm.output import Output
from instar_sandbox.kvm.sealed import SealedCalls
from instar_sandbox.program import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.snapshot import Description
    from instar_sandbox.kvm.space import Space

PAGEMAP = "/proc/self/pagemap"
ENTRY = Struct("<Q")
PRESENT, SWAPPED, OF_A_FILE = 1 << 63, 1 << 62, 1 << 61
"""Of an entry of the kernel's pagemap (Documentation/admin-guide/mm/pagemap.rst)."""

MANY = 16
"""Small pages written to, from which on copying the whole large one is quicker."""
MOST_HOT = 3 * layout.LARGE
"""Bytes that are copied for every guest: they are its own, however many guests there are."""


class Rehearsed(Exception):
    """The guest asks for more than the script holds."""


class Nobody(Output):
    """What the guest sends is not heard."""

    __slots__ = ()

    def write(self, content: memoryview) -> int:
        """All of it is gone."""
        return len(content)


class Scripted(SealedCalls):
    """A channel on which a script comes, and one file."""

    def __init__(self, memory: GuestMemory, space: Space, script: bytes, file: int) -> None:
        super().__init__(memory, space, Nobody(-1), 1)
        self.script = script
        self.file = file

    def read(self, file: int, place: int, length: int, *_: int) -> int:
        """What is left of the script."""
        del file
        if not self.script:
            raise Rehearsed
        piece, self.script = self.script[:length], self.script[length:]
        self.memory.put(place, piece)
        return len(piece)

    def _read(self, name: str, file: int, pieces: list[memoryview], offset: int) -> int:
        del name, file
        return os.preadv(self.file, pieces, offset)


def rehearse(kvm: int, descriptor: int, description: Description) -> None:
    """The description says which large pages are hot: none where the kernel does not tell.

    Raises BackendError if the guest does not come to its answer.
    """
    description.large = False
    description.hot = []
    size = description.top // layout.LARGE * layout.LARGE + layout.LEAST_MEMORY
    file = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    machine, memory, space = restore.restore(kvm, size, descriptor, description)
    try:
        calls = Scripted(memory, space, script(), file)
        number, arguments = description.call
        while True:
            machine.answer(calls.answer(number, arguments))
            number, arguments = machine.next_call()
    except Rehearsed:
        description.hot = hot(written(memory, description))
    except GuestEnded as error:
        raise BackendError(f"a guest of the snapshot does not work: {error}") from error
    finally:
        machine.close()
        memory.close()
        os.close(file)


def script() -> bytes:
    """What the host says until a guest that runs the trial gives an answer."""
    said = (b"%d 1" % MAX_FRAME, trial.__name__.encode(), b"argument", b"question")
    return b"".join([piece for frame in said for piece in frames.pieces(frame, MAX_FRAME)])


def written(memory: GuestMemory, description: Description) -> list[int]:
    """Addresses of those pages of the snapshot that are the guest's own by now, in order."""
    found = []
    try:
        with open(PAGEMAP, "rb", buffering=0) as file:
            for address, length, _ in description.extents:
                file.seek((memory.address + address) // layout.PAGE * ENTRY.size)
                table = file.read(length // layout.PAGE * ENTRY.size)
                entries = ENTRY.iter_unpack(table[: len(table) // ENTRY.size * ENTRY.size])
                for index, (entry,) in enumerate(entries):
                    if entry & (PRESENT | SWAPPED) and not entry & OF_A_FILE:
                        found.append(address + index * layout.PAGE)
    except OSError:
        return []
    return found


def hot(pages: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of the large pages in which most of the pages lie, in order, as many as may be."""
    counts: dict[int, int] = {}
    for page in pages:
        start = page // layout.LARGE * layout.LARGE
        counts[start] = counts.get(start, 0) + 1
    often = sorted([start for start in counts if counts[start] >= MANY], key=lambda start: -counts[start])
    return [(start, start + layout.LARGE) for start in sorted(often[: MOST_HOT // layout.LARGE])]
