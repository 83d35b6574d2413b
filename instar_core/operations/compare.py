"""compare: whether two images hold the same."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import stretches
from instar_core.errors import ErrorKind, FormatError
from instar_core.operations.map import looks, unjoined
from instar_core.results import Comparison, Progress
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.piece import Piece
    from instar_core.settings import Settings


def compare(
    first: str,
    second: str,
    *,
    first_format: str | None = None,
    second_format: str | None = None,
    first_options: Mapping[str, Any] | None = None,
    second_options: Mapping[str, Any] | None = None,
    strict: bool = False,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Whether the disks at `first` and `second` read the same; a longer one must be zero past the shorter one's end.

    With `strict` their sizes must be equal too, and so must be what map says of every place but depth and offset. Of
    what differs in content and in that, the first is reported. Raises InstarError, of kind IO where an image says what
    it holds but that cannot be read or decoded. The options are as open_options of info.
    """
    from instar_core.dataplane.compare import compare as compare_content

    status: int | None = None
    if strict:
        # In sessions of its own: the walk may end early, which a session does not survive.
        with (
            chains.open_chain(first, settings, "map", format=first_format, options=first_options) as one,
            chains.open_chain(second, settings, "map", format=second_format, options=second_options) as two,
        ):
            if one.info.virtual_size != two.info.virtual_size:
                return Comparison(False, "size", -1, True, min(one.info.virtual_size, two.info.virtual_size))
            status = _status_mismatch(one, two)
    with (
        chains.open_chain(first, settings, "map", format=first_format, options=first_options) as one,
        chains.open_chain(second, settings, "map", format=second_format, options=second_options) as two,
    ):
        sizes = one.info.virtual_size, two.info.virtual_size
        differ = sizes[0] != sizes[1]
        common = min(sizes)
        total = max(sizes)
        if status is not None:
            sizes = min(sizes[0], status), min(sizes[1], status)

        def step(done: int) -> None:
            if progress is not None:
                progress(Progress("compare", done, total))

        step(0)
        unmapped: list[FormatError] = []
        try:
            offset = compare_content(
                _noting(stretches.pieces(one, length=sizes[0]), unmapped),
                _noting(stretches.pieces(two, length=sizes[1]), unmapped),
                sizes,
                progress=step,
                cancelled=cancelled,
                sandbox=settings.sandbox,
                guarded=bool(settings.keyring),
            )
        except FormatError as error:
            if error not in unmapped:
                error.kind = ErrorKind.IO
            raise
        if offset is not None:
            return Comparison(False, "content", offset, differ, common)
        if status is not None:
            return Comparison(False, "status", status, False, common)
        step(total)
        return Comparison(True, "identical", -1, differ, common)


def _noting(stream: Iterator[Piece], failures: list[FormatError]) -> Iterator[Piece]:
    """The same pieces; the error that they end in is also put into the list."""
    try:
        yield from stream
    except FormatError as error:
        failures.append(error)
        raise


def _status_mismatch(one: Member, two: Member) -> int | None:
    """Where the first byte is about which two disks of one size say different things, whatever they hold there."""
    left, right = _status(one), _status(two)
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        if a[2] != b[2]:
            return max(a[0], b[0])
        stop = min(a[1], b[1])
        if a[1] == stop:
            a = next(left, None)
        if b[1] == stop:
            b = next(right, None)
    return None


def _status(top: Member) -> Iterator[tuple[int, int, tuple[bool, ...]]]:
    """Start, end and status of each range: what map says of it, but for its depth, and of its place only whether."""
    for batch in unjoined(top, looks(top), 0, top.info.virtual_size):
        for start, length, look in zip(batch.starts, batch.lengths, batch.looks, strict=True):
            yield start, start + length, (look.present, look.zero, look.data, look.compressed, look.placed)
