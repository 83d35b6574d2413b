"""Changing an image in place: a plan of edits executed phase by phase."""

from __future__ import annotations

from instar_core.dataplane.edits import checked, execute, flush
from instar_core.errors import Cancelled, ContractViolation
from instar_core.types import Barrier, Copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from instar_core.types import Edit


def apply(
    edits: Iterable[Edit],
    targets: Sequence[int],
    *,
    barrier: Callable[[Sequence[int]], None] = flush,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """Every edit is done, in order, all before a barrier on stable storage before anything after it; their number.

    A plan in place moves no content: Copy is refused. It ends on stable storage. Between phases, where the image is
    consistent, a wish to stop is heard: Cancelled. Raises DeviceError and ContractViolation.
    """
    count = 0
    written = False
    for edit in edits:
        if isinstance(edit, Copy):
            raise ContractViolation("a change in place has no content to copy")
        execute(checked(edit, len(targets)), targets, barrier=barrier)
        count += 1
        written = not isinstance(edit, Barrier)
        if not written and cancelled is not None and cancelled():
            raise Cancelled("stopped")
    if written:
        barrier(targets)
    return count
