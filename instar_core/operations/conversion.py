"""What a conversion starts from, and how its content is moved: the same for a new image and for one that is there."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import merge
from instar_core.changing import DIRECT
from instar_core.errors import UsageError
from instar_core.operations import layers
from instar_core.results import Progress
from instar_core.types import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Any, NamedTuple

    from instar_core.chain import Member
    from instar_core.making import Order
    from instar_core.piece import Piece
    from instar_core.session import Dialogue
    from instar_core.settings import Settings
    from instar_core.target import Target
else:
    from instar_core.record import NamedTuple


class Source:
    """The disks that are converted: open chains with the layer that is meant of each. A context manager."""

    def __init__(self) -> None:
        self.tops: list[tuple[Member, Layer]] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        for top, _layer in self.tops:
            top.close()

    def take(
        self,
        path: str,
        settings: Settings,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """The image at `path` follows. Raises InstarError."""
        self.tops.append((chains.open_chain(path, settings, "map", format=format, options=options), Layer()))

    def choose(self, snapshot: str | None) -> None:
        """Of the first image this snapshot is meant, if one is named. Raises InstarError."""
        if snapshot is not None:
            top, _ = self.tops[0]
            self.tops[0] = top, layers.chosen(top, snapshot)

    @property
    def size(self) -> int:
        """Bytes of all disks together."""
        return sum(merge.layer_size(top, layer) for top, layer in self.tops)

    @property
    def members(self) -> Iterator[Member]:
        """All images of all chains."""
        return (member for top, _layer in self.tops for member in top.members())

    def refuse(self, target: str, identities: Collection[object]) -> None:
        """Raises UsageError where a file of these identities, which are the target's, is one of those converted."""
        if any(device.identity in identities for member in self.members for device in member.devices):
            raise UsageError(
                'Failed to get "write" lock', path=target, hint=f"'{target}' is one of the files that are converted"
            )


class How(NamedTuple):
    """How content is moved. See operations.convert for the meaning of the names."""

    sparse: int
    cache: str
    copy_offload: bool
    rate: int
    progress: Callable[[Progress], None] | None
    cancelled: Callable[[], bool] | None
    salvage: Callable[[int, str], None] | None
    share: bool = False

    def step(self, total: int) -> Callable[[int], None]:
        """What is told of the progress as bytes done, of so many."""

        def told(done: int) -> None:
            if self.progress is not None:
                self.progress(Progress("convert", min(done, total), total))

        return told


def salvaging(warn: Callable[[str], None] | None) -> Callable[[int, str], None]:
    """What is told of sectors that cannot be read, as warnings."""

    def told(place: int, why: str) -> None:
        if warn is not None:
            warn(f"error while reading offset {place}: {why}")

    return told


def fill(source: Source, content: Iterator[Piece], files: Target, dialogue: Dialogue, order: Order, how: How) -> None:
    """The files hold the content, as the dialogue wants it."""
    from instar_core.dataplane import fill as dataplane

    fresh = not order.values.get("keep_data_file") and not any(file.fixed for file in files.files)
    reserved = order.values.get("preallocation") in ("falloc", "full")
    step = how.step(source.size)
    step(0)
    dataplane.fill(
        content,
        dialogue.geometry,
        dialogue.converse,
        dialogue.finish,
        files.descriptors,
        sparse=how.sparse,
        fresh=fresh,
        copy_range=how.copy_offload,
        progress=step,
        cancelled=how.cancelled,
        rate=how.rate,
        durable=how.cache != "unsafe",
        direct=how.cache in DIRECT,
        sandbox=order.settings.sandbox,
        guarded=bool(order.settings.keyring),
        salvage=how.salvage,
        share=how.share and fresh and not reserved,
    )
    step(source.size)


def over(source: Sequence[tuple[Member, Layer]]) -> tuple[Member, Layer]:
    """The only image whose own content is meant. Raises UsageError where there are several."""
    if len(source) > 1:
        raise UsageError("Having a backing file for the target makes no sense when concatenating multiple input images")
    return source[0]
