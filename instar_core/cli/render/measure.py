"""measure as text."""

from __future__ import annotations

from instar_core.cli.jsontext import pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.results import Measurement


def human(found: Measurement) -> str:
    """A line for each size, in bytes."""
    lines = [f"required size: {found.required}", f"fully allocated size: {found.fully_allocated}"]
    if found.bitmaps is not None:
        lines.append(f"bitmaps size: {found.bitmaps}")
    return "\n".join(lines) + "\n"


def json(found: Measurement) -> str:
    """One object."""
    made = {"required": found.required, "fully-allocated": found.fully_allocated}
    if found.bitmaps is not None:
        made["bitmaps"] = found.bitmaps
    return pretty(made) + "\n"
