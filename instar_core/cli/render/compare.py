"""compare as text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.results import Comparison

SIZES = "Warning: Image size mismatch!\n"


def human(found: Comparison, *, strict: bool) -> str:
    """What qemu-img says of the result. That sizes differ is worth a line where the common part is the same."""
    if found.reason == "size":
        return "Strict mode: Image size mismatch!\n"
    if found.reason == "status":
        return f"Strict mode: Offset {found.offset} block status mismatch!\n"
    beyond = found.identical or found.offset >= found.common
    warning = SIZES if found.sizes_differ and beyond and not strict else ""
    if found.identical:
        return f"{warning}Images are identical.\n"
    return f"{warning}Content mismatch at offset {found.offset}!\n"
