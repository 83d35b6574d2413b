"""Inspectors whose regions are parsed in a sandbox."""

from __future__ import annotations

import zlib

from instar_core import limits
from instar_core.compat.oslo.imageutils.inspector import FileInspector
from instar_core.compat.oslo.imageutils.jail import Jail
from instar_core.compat.oslo.imageutils.regions import NEVER, CaptureRegion, EndCaptureRegion, PassedRegion
from instar_core.compat.oslo.imageutils.safety import ImageFormatError, SafetyCheck, SafetyViolation
from instar_core.worker.stream.words import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.worker.stream.words import Wanted

UNKNOWN = Verdict(False)


class JailedInspector(FileInspector):
    """An inspector that has its regions parsed in a sandbox, whenever one of them is whole, and believes what is said
    there only within bounds."""

    _verdict = UNKNOWN
    _asked: tuple[object, ...] = ()
    _whole: frozenset[int] = frozenset()
    _stale = False
    _eating = False
    _own_jail = False
    _idle_until = 0
    _wishes = 0

    def eat_chunk(self, chunk: bytes) -> None:
        """As in FileInspector; after an error the same error again, and nothing more is kept."""
        if not self._finished:
            end = self._total_count + len(chunk)
            if self._failure:
                self._total_count = end
                raise ImageFormatError(self._failure)
            if end <= self._idle_until:
                self._total_count = end
                return
        self._eating = True
        try:
            super().eat_chunk(chunk)
        finally:
            self._eating = False
        wishes = [region.next_wish for region in self._capture_regions.values()]
        self._idle_until = min(wishes, default=NEVER)

    def new_region(self, name: str, region: CaptureRegion) -> None:
        """As in FileInspector."""
        super().new_region(name, region)
        self._idle_until = 0

    def post_process(self) -> None:
        """The regions are parsed, if one has become whole, and what that asks for is kept from now on."""
        whole = frozenset([id(region) for region in self._capture_regions.values() if region.full])
        if whole == self._whole:
            return
        self._whole = whole
        self._examine()
        if self._verdict.error:
            self._failure = self._verdict.error
        if self._failure:
            raise ImageFormatError(self._failure)
        for name in self._verdict.unwanted:
            self._capture_regions.pop(name, None)
        self._wishes += len(self._verdict.wanted)
        if self._wishes > limits.KEPT_PIECES:  # or what parses could go on wishing for ever
            raise self._gave_up("More pieces of the stream are asked for than any format needs")
        for wanted in self._verdict.wanted:
            self._want(wanted)
        if self._own_jail and self._jail and all(region.full for region in self._capture_regions.values()):
            self._jail.close()

    def _want(self, wanted: Wanted) -> None:
        known = self._capture_regions.get(wanted.name)
        if known is not None and known.offset == wanted.offset:
            known.length, known.min_length = wanted.length, None
            known.open_ended = True
            return
        others = [region for name, region in self._capture_regions.items() if name != wanted.name]
        passed = [other.offset + len(other.data) for other in others if other.full]
        region = EndCaptureRegion(wanted.length) if wanted.tail else CaptureRegion(wanted.offset, wanted.length)
        if not wanted.tail and wanted.offset < max(passed, default=0):
            region = PassedRegion(wanted.offset, wanted.length)
        self._capture_regions.pop(wanted.name, None)
        self.new_region(wanted.name, region)
        if sum([region.length for region in self._capture_regions.values()]) > limits.KEPT:
            raise self._gave_up("Too much of the stream would have to be kept")

    def _gave_up(self, why: str) -> ImageFormatError:
        self._failure = why
        return ImageFormatError(why)

    def region_complete(self, region_name: str) -> None:
        """The regions are parsed anew when their meaning is asked for: a caller says that one was changed."""
        self._stale = self._stale or not self._eating

    def finish(self) -> None:
        """The stream has ended here, and what there is of it has been judged."""
        if self._finished:
            return
        super().finish()
        for region in self._capture_regions.values():
            if region.open_ended:
                region.length = len(region.data)
        if not self._failure:
            if any(region.data for region in self._capture_regions.values()):
                self._examine()
                self._failure = self._failure or self._verdict.error
            for name in self._verdict.unwanted:
                self._capture_regions.pop(name, None)
        if self._own_jail and self._jail is not None:
            self._jail.close()

    def _options(self) -> dict[str, Any]:
        """What the examiner of this format needs to know besides the regions."""
        return {}

    def _fingerprint(self) -> tuple[object, ...]:
        """What tells the regions from what they were. The checksum is for callers that change one themselves; regions
        of the stream only grow, or end."""
        regions = self._capture_regions.items()
        ended = self._finished
        return tuple([(name, at.offset, len(at.data), ended or at.full, zlib.crc32(at.data)) for name, at in regions])

    def _examine(self) -> None:
        """The verdict is that of the regions as they are."""
        self._stale = False
        asked = self._fingerprint()
        if asked == self._asked:
            return
        jail = self._jail
        if jail is None:
            jail = self._jail = Jail()
            self._own_jail = True
        try:
            self._verdict = jail.ask(self.NAME, self._capture_regions, self._options(), ended=self._finished)
            self._asked = asked
        except ImageFormatError as error:
            self._verdict = UNKNOWN
            self._failure = str(error)
        finally:
            if self._own_jail and self._finished:
                jail.close()

    def _said(self) -> Verdict:
        if self._stale:
            self._examine()
        return self._verdict

    @property
    def format_match(self) -> bool:
        """Whether the stream looks like this format."""
        return self._said().match

    @property
    def virtual_size(self) -> int:
        """Bytes of the virtual disk, 0 while that is not known."""
        return self._said().size

    def _add_check(self, name: str) -> None:
        """The safety check of this name is there: what the examiner says of it."""
        self.add_safety_check(SafetyCheck(name, getattr(self, f"check_{name}")))

    def _check(self, name: str) -> None:
        """Nothing, if the examiner finds nothing wrong by this check. Raises SafetyViolation."""
        self._examine()
        if self._failure and self._verdict is UNKNOWN:
            raise SafetyViolation(self._failure)
        reason = self._verdict.failures.get(name)
        if reason:
            raise SafetyViolation(reason)
