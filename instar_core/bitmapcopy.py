"""The dirty bitmaps of an image, given to the image that its content was converted to."""

from __future__ import annotations

import time

from instar_core import dirty, locks
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.types import BitmapEdit, Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from instar_core.chain import Member
    from instar_core.settings import Settings
    from instar_core.target import Target
    from instar_core.types import FormatSpec

BITMAPPED = ("qcow2", "parallels")
"""Formats whose images may have dirty bitmaps."""
OLD = ("0.10", "v2")
"""Compatibility levels of qcow2 that have none."""


def require_source(tops: Sequence[Member]) -> None:
    """Raises InstarError where bitmaps cannot be copied from there, whatever they are copied to."""
    if len(tops) > 1:
        raise UsageError("Copying bitmaps only possible with single source")
    if tops[0].format not in BITMAPPED or tops[0].info.details.get("compat") in OLD:
        raise InstarError("Source lacks bitmap support", kind=ErrorKind.UNSUPPORTED)


class Bitmaps:
    """The bitmaps that are to be copied. Made before anything is written, it raises InstarError, in qemu-img's words,
    where they cannot be."""

    def __init__(
        self,
        tops: Sequence[Member],
        spec: FormatSpec,
        level: object,
        size: int,
        *,
        there: Collection[str] = (),
        skip: bool = False,
    ) -> None:
        """`spec` is the format of the image that gets them, `level` its compatibility level if it has one, `size` the
        bytes of its disk, `there` the names of its own bitmaps. With `skip` bitmaps that nobody may rely on are left
        out."""
        require_source(tops)
        self._source = tops[0]
        self._spec = spec
        info = self._source.info
        self._broken = [bitmap.name for bitmap in reversed(info.bitmaps) if not dirty.usable(bitmap)]
        if self._broken and not skip:
            raise InstarError(
                f"Cannot copy inconsistent bitmap '{self._broken[0]}'",
                kind=ErrorKind.CORRUPT,
                hint="Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
            )
        unable = Capability.BITMAP not in spec.capabilities and (spec.name not in BITMAPPED or info.bitmaps)
        if unable or level in OLD:
            raise InstarError(f"Format driver '{spec.name}' does not support bitmaps", kind=ErrorKind.UNSUPPORTED)
        self._usable = [bitmap for bitmap in info.bitmaps if dirty.usable(bitmap)]
        for bitmap in reversed(self._usable):
            name = bitmap.name
            if name in there:
                raise InstarError(f"Failed to create bitmap {name}: Bitmap already exists: {name}")
            if size != info.virtual_size:
                raise InstarError(
                    f"Failed to populate bitmap {name}: Bitmaps are of different sizes (destination size is {size}, "
                    f"source size is {info.virtual_size}) and can't be merged"
                )

    def copy(self, target: Target, settings: Settings, cache: str, skipped: Callable[[str], None] | None) -> None:
        """The new image that the target's files hold has the bitmaps, written by this cache mode.

        `skipped` is told of those that are left out. The locks of the target are gone.
        """
        for file in target.files:
            locks.release(file)
        if not self._usable:
            self._leave(skipped)
            return
        own = settings._replace(policy="qemu")  # the names in the image are those that the caller gave
        with Changing(target.path, own, format=self._spec.name, device=target.files[0], cache=cache) as image:
            self.give(image, skipped)

    def give(self, image: Changing, skipped: Callable[[str], None] | None) -> None:
        """The image, which nothing was changed in since it was parsed, has the bitmaps. `skipped` is as for copy."""
        self._leave(skipped)
        for number, bitmap in enumerate(self._usable):
            if number:
                image.afresh()
            steps = ("merge",) if "auto" in bitmap.flags else ("merge", "disable")
            request = BitmapEdit("add", bitmap.name, bitmap.granularity, time.time_ns(), steps)
            try:
                image.apply(request, dirty.runs(self._source, bitmap.name))
            except InstarError as error:
                error.message = f"Failed to create bitmap {bitmap.name}: {error.message}"
                raise

    def _leave(self, skipped: Callable[[str], None] | None) -> None:
        for name in self._broken:
            if skipped is not None:
                skipped(name)
