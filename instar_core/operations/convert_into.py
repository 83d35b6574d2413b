"""convert -n: content that is written into an image that is there, whatever else it holds."""

from __future__ import annotations

from instar_core import registry, stretches
from instar_core.changing import Changing
from instar_core.completing import Rest
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.operations import conversion
from instar_core.types import Capability, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from instar_core.bitmapcopy import Bitmaps
    from instar_core.chain import Member
    from instar_core.operations.conversion import How, Source
    from instar_core.piece import Piece
    from instar_core.settings import Settings
    from instar_core.types import Run


class Into:
    """An image that content is to be written into. What cannot be is refused when it is made or before it is written
    to."""

    def __init__(
        self,
        path: str,
        format: str | None,
        options: Mapping[str, Any] | None,
        settings: Settings,
        *,
        compress: bool,
        over: bool,
        zero: bool,
    ) -> None:
        """With `over` only what the source's top image itself says is written; `zero` says that the image reads as
        zeros. Raises InstarError."""
        if over and zero:
            raise UsageError("Cannot use --target-is-zero when the destination image has a backing file")
        self.path = path
        self.format = format
        self.options = options
        self.settings = settings
        self.compress = compress
        self.over = over
        self.zero = zero

    def write(
        self,
        source: Source,
        how: How,
        *,
        bitmaps: bool = False,
        skip: bool = False,
        skipped: Callable[[str], None] | None = None,
    ) -> None:
        """The image holds the source's content, and with `bitmaps` its bitmaps: see operations.convert.

        An image that cannot be written in place is made anew, if nothing is lost by that. Raises InstarError.
        """
        if self.format is not None and self.format in registry.entries():
            held = registry.spec(self.format).capabilities
            if Capability.UPDATE not in held and Capability.CREATE not in held:
                raise InstarError("Image is read-only", kind=ErrorKind.UNSUPPORTED, path=self.path)
        foreseen = "" if bitmaps else "update"
        with Changing(
            self.path, self.settings, format=self.format, options=self.options, cache=how.cache, foreseen=foreseen
        ) as image:
            member = image.member
            if self.compress and Capability.COMPRESS not in registry.spec(member.format).capabilities:
                raise InstarError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
            source.refuse(self.path, image.held)
            if member.info.virtual_size < source.size:
                raise InstarError("output file is smaller than input file")
            copies = _bitmaps(source, member, skip) if bitmaps else None
            refused = self._update(image, source, how)
            if refused is None:
                if copies is not None:
                    image.afresh()
                    copies.give(image, skipped)
                return
        if self.over or bitmaps:
            raise refused
        self._remake(member.format, source, how, refused)

    def _update(self, image: Changing, source: Source, how: How) -> InstarError | None:
        """The image holds the content; or why it cannot be written in place. Raises what else goes wrong."""
        member = image.member
        if Capability.UPDATE not in registry.spec(member.format).capabilities:
            return InstarError(f"{member.format} images cannot be written in place", kind=ErrorKind.UNSUPPORTED)
        if self.over:
            top, layer = conversion.over(source.tops)
        begun = []

        def pieces(unit: int) -> Iterator[Piece]:
            begun.append(unit)
            if self.over:
                return rest.around(stretches.alone(top, layer), unit)
            return rest.behind(stretches.concatenated(source.tops), source.size, unit)

        step = how.step(source.size)
        step(0)
        with Rest(image) as rest:
            try:
                image.update(
                    pieces,
                    compress=self.compress,
                    sparse=how.sparse,
                    progress=step,
                    cancelled=how.cancelled,
                    rate=how.rate,
                    wanted=_content_only if self.zero else None,
                    copy_range=how.copy_offload,
                    salvage=how.salvage,
                )
            except InstarError as error:
                if begun or error.kind != ErrorKind.UNSUPPORTED:
                    raise
                return error
        step(source.size)
        return None

    def _remake(self, format: str, source: Source, how: How, refused: InstarError) -> None:
        """Raises `refused`, which says why the image cannot be written in place, where anything would be lost."""
        from instar_core import existing
        from instar_core.making import Order, open_target
        from instar_core.target import Target

        try:
            order = Order(self.path, format, {}, self.settings)
            order.fillable()
            order.compress = self.compress
            size = existing.adopt(order, source.size)
        except InstarError:
            raise refused from None
        with order.session() as session, Target(self.path) as files:
            dialogue = order.dialogue(session, size)
            open_target(files, order, dialogue, create=False)
            conversion.fill(source, stretches.concatenated(source.tops), files, dialogue, order, how)
            files.commit()


def _content_only(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.kind != Kind.ZERO]


def _bitmaps(source: Source, member: Member, skip: bool) -> Bitmaps:
    from instar_core.bitmapcopy import Bitmaps

    info = member.info
    tops = [top for top, _layer in source.tops]
    there = {bitmap.name for bitmap in info.bitmaps}
    spec = registry.spec(member.format)
    return Bitmaps(tops, spec, info.details.get("compat"), info.virtual_size, there=there, skip=skip)
