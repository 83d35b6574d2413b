"""compare: whether two images hold the same."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import merge, stretches
from instar_core.errors import InstarError
from instar_core.results import Comparison, Progress
from instar_core.settings import DEFAULTS
from instar_core.types import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar_core.chain import Member
    from instar_core.settings import Settings


def compare(
    first: str,
    second: str,
    *,
    first_format: str | None = None,
    second_format: str | None = None,
    strict: bool = False,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Whether the disks at `first` and `second` read the same; a longer one must be zero past the shorter one's end.

    With `strict` their sizes must be equal too, and so must be what is allocated. Raises InstarError.
    """
    from instar_core.dataplane.compare import compare as compare_content

    with (
        chains.open_chain(first, settings, "map", format=first_format) as one,
        chains.open_chain(second, settings, "map", format=second_format) as two,
    ):
        sizes = one.info.virtual_size, two.info.virtual_size
        differ = sizes[0] != sizes[1]
        common = min(sizes)
        if strict and differ:
            return Comparison(False, "size", -1, True, common)
        if strict:
            status = _status_mismatch(one, two)
            if status is not None:
                return Comparison(False, "status", status, False, common)
        total = max(sizes)

        def step(done: int) -> None:
            if progress is not None:
                progress(Progress("compare", done, total))

        step(0)
        offset = compare_content(
            stretches.pieces(one),
            stretches.pieces(two),
            sizes,
            progress=step,
            cancelled=cancelled or _never,
            sandbox=settings.sandbox,
        )
        if offset is not None:
            return Comparison(False, "content", offset, differ, common)
        step(total)
        return Comparison(True, "identical", -1, differ, common)


def _never() -> bool:
    return False


def _status_mismatch(one: Member, two: Member) -> int | None:
    """Where the first byte is that one image holds as data or zeros of its own and the other leaves out."""
    left, right = _allocation(one), _allocation(two)
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


def _allocation(top: Member) -> Iterator[tuple[int, int, bool]]:
    for extent, _member, _depth, filled in merge.refined(merge.extents(top)):
        yield extent.start, extent.start + extent.length, extent.kind == Kind.DATA and filled


def require_both(first: str | None, second: str | None) -> tuple[str, str]:
    """Both names, or an error."""
    if first is None or second is None:
        raise InstarError("Expecting two image file names")
    return first, second
