"""Under which name, and with which settings, a verb is called."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NamedTuple

    from instar_core.settings import Settings
else:
    from instar_core.record import NamedTuple

QEMU_IMG: Final = "qemu-img"


class Call(NamedTuple):
    """`typed` is argv[0], `name` its last part (which prefixes messages), `qemu` whether that is qemu-img."""

    typed: str
    name: str
    qemu: bool
    verb: str
    settings: Settings

    @property
    def as_qemu(self) -> bool:
        """Whether presence rules of output are qemu-img's also where instar's own would be steadier."""
        return self.qemu or self.settings.unsafe_quirks


def shown_name(argv0: str) -> str:
    """argv[0] as the user typed it: a script found on PATH is told its whole path, which nobody typed."""
    folder, name = os.path.split(argv0)
    return name if folder and folder in os.environ.get("PATH", os.defpath).split(os.pathsep) else argv0
