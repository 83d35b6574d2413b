"""A bar with rate and time left, for people at a terminal. The only module besides the tables that needs rich."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.results import Progress


class Bar:
    """Drawn on standard output while the context is open."""

    def __init__(self, verb: str) -> None:
        self.rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self.task = self.rich.add_task(verb, total=None)

    def __enter__(self) -> Bar:
        self.rich.start()
        return self

    def __call__(self, event: Progress) -> None:
        """The bar stands where the event says."""
        self.rich.update(self.task, completed=event.done, total=event.total)

    def __exit__(self, *_: object) -> None:
        self.rich.stop()
