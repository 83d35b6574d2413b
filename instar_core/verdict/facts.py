"""What is known of an image when it is judged."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.partitions import Table
    from instar_core.types import ImageInfo
else:
    from instar_core.record import NamedTuple


class Facts(NamedTuple):
    """One image, by its own file alone: nothing that it names was opened. Sizes are bytes."""

    filename: str
    info: ImageInfo
    declared: str | None
    stored: int
    evidence: str
    """What shows that it is a raw disk; empty where nothing was looked for or found."""
    partitions: Table
    certain: bool
    """Whether the signature that shows the format stands in front, where every tool sees it."""


def subformat(info: ImageInfo) -> str:
    """The createType of a VMDK image; empty for other formats."""
    return str(info.details.get("create-type", "")) if info.format == "vmdk" else ""
