"""Changing an image in place: a plan of edits executed phase by phase."""

from __future__ import annotations

from instar_core.dataplane.edits import checked, execute, flush
from instar_core.errors import Cancelled, ContractViolation
from instar_core.limits import UNIT
from instar_core.types import Barrier, Copy, Put, Reserve, Truncate, Zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from instar_core.device import Device
    from instar_core.types import Edit, ImageInfo

SLACK = 4
"""Files may be longer than their content by this part of it, for metadata: LUKS and the smallest clusters need most."""

CLUSTER = 2 << 30
"""Largest cluster in bytes that a format is known to have: that of Parallels."""

BEGUN = 2
"""Clusters that may be empty for the most part: that of the disk's end, and one up to where the next may lie."""


class Bounds:
    """How far a plan in place may reach, and how much room it may take: it comes from a parser of untrusted bytes, and
    must not fill the disk by it."""

    def __init__(self, files: Sequence[Device], info: ImageInfo, wanted: int = 0) -> None:
        """`files` and `info` are the image's; `wanted` is what the virtual disk is to have in bytes, or 0."""
        content = sum(file.size for file in files) + max(info.virtual_size, wanted)
        needed = content + content // SLACK + UNIT
        self._reach = needed + BEGUN * CLUSTER  # a file is long at no cost, and not every format tells its clusters
        self._room = needed + BEGUN * min(info.cluster_size, CLUSTER)

    def kept(self, edits: Iterable[Edit]) -> Iterator[Edit]:
        """The same edits. Raises ContractViolation at the first that goes too far."""
        for edit in edits:
            if isinstance(edit, Truncate):
                end = edit.size
            elif isinstance(edit, Put):
                end = edit.offset + len(edit.data)
            elif isinstance(edit, Copy | Zero | Reserve):
                end = edit.offset + edit.length
                self._room -= edit.length
            else:
                end = 0
            if end > self._reach:
                raise ContractViolation(f"a change reaches to {end}, far past all that the image can need")
            if self._room < 0:
                raise ContractViolation("a change takes far more room than the image can need")
            yield edit


def apply(
    edits: Iterable[Edit],
    targets: Sequence[int],
    *,
    barrier: Callable[[Sequence[int]], None] = flush,
    cancelled: Callable[[], bool] | None = None,
    settled: bool = True,
) -> int:
    """Every edit is done, in order, all before a barrier on stable storage before anything after it; their number.

    A plan in place moves no content: Copy is refused. It ends on stable storage. A barrier with nothing before it costs
    nothing, unless earlier writes of the caller's are not `settled`. Between phases, where the image is consistent, a
    wish to stop is heard: Cancelled. Raises DeviceError and ContractViolation.
    """
    count = 0
    for edit in edits:
        if isinstance(edit, Copy):
            raise ContractViolation("a change in place has no content to copy")
        checked(edit, len(targets))
        count += 1
        if not isinstance(edit, Barrier):
            execute(edit, targets)
            settled = False
            continue
        if not settled:
            barrier(targets)
            settled = True
        if cancelled is not None and cancelled():
            raise Cancelled("stopped")
    if not settled:
        barrier(targets)
    return count
