"""instar sandbox prepare: the snapshots that guests begin at are made, tried and kept."""

from __future__ import annotations

from instar_core.cli import output
from instar_core.cli.printable import printable
from instar_core.cli.sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.operations.sandbox import Kept


def run(*, anew: bool) -> int:
    """A line for each snapshot as soon as it is there, then what else lies beside them."""
    from instar_core.operations import sandbox

    for each in sandbox.kept(anew=anew):
        output.out(_line(each))
        output.flush()
    others = sandbox.others()
    if others:
        output.out(f"also there, of other installations or left over: {printable(', '.join(others))}\n")
    return 0


def _line(kept: Kept) -> str:
    done = "up to date" if kept.seconds is None else f"made and tried in {kept.seconds:.2f} s"
    size = human_size(kept.size, plain=True)
    return f"{kept.name}: {printable(kept.path)}, {size}, {restoring(kept.large)}, {done}\n"


def restoring(large: bool) -> str:
    """How a guest comes by its memory."""
    return "copied into large pages" if large else "shared until written to"
