"""Which of several mistakes is told: qemu-img opens what it reads before it looks at what it is to make of it."""

from __future__ import annotations

from instar_core.cli.fault import Fault
from instar_core.errors import InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_core.cli.imageopts import Source as Described
    from instar_core.settings import Settings


class SourcesFirst:
    """What goes wrong inside is raised only if the sources can be opened; else what is wrong with them is.

    Nothing is opened where nothing goes wrong.
    """

    def __init__(self, sources: Sequence[Described], settings: Settings, snapshot: str | None = None) -> None:
        """`snapshot` is the one of the first source that is wanted."""
        self.sources = sources
        self.settings = settings
        self.snapshot = snapshot if len(sources) == 1 or (snapshot or "").startswith("snapshot.") else None

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, (Fault, InstarError)):
            return
        from instar_core.operations.conversion import Source

        with Source() as opened:
            for position, each in enumerate(self.sources):
                wanted = None if position else self.snapshot
                opened.take(each.path, self.settings, format=each.format, snapshot=wanted, options=each.options)
