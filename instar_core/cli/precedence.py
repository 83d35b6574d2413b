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

    Nothing is opened where nothing goes wrong. The sources are those that were read from the command line until then.
    """

    def __init__(self, sources: Sequence[Described], settings: Settings, snapshot: str | None = None) -> None:
        """`snapshot` is the one of the first source that is wanted."""
        self.sources = sources
        self.settings = settings
        self.snapshot = snapshot

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, (Fault, InstarError)):
            return
        from instar_core.operations.conversion import Source

        with Source() as opened:
            for each in self.sources:
                opened.take(each.path, self.settings, format=each.format, options=each.options)
            if len(self.sources) == 1 or (self.sources and (self.snapshot or "").startswith("snapshot.")):
                opened.choose(self.snapshot)
