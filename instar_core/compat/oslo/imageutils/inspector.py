"""Inspectors of streams: what all of them have in common. Only these few lines see every chunk, and parse none."""

from __future__ import annotations

import abc

from instar_core.compat.oslo.imageutils.chunks import chunks, opened
from instar_core.compat.oslo.imageutils.regions import CaptureRegion, EndCaptureRegion
from instar_core.compat.oslo.imageutils.safety import (
    LOG,
    ImageFormatError,
    SafetyCheck,
    SafetyCheckFailed,
    SafetyViolation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, Self

    from instar_core.compat.oslo.imageutils.jail import Jail


class FileInspector(abc.ABC):
    """Judges a stream that is given to it chunk by chunk, in chunks of any size, by the regions of it that it keeps.

    A subclass names its format and says in `_initialize` which regions it needs and which safety checks there are.
    """

    NAME = ""

    def __init__(self, tracing: bool = False, params: dict[str, str] | None = None) -> None:
        self._total_count = 0
        self._tracing = tracing
        self._capture_regions: dict[str, CaptureRegion] = {}
        self._safety_checks: dict[str, SafetyCheck] = {}
        self._finished = False
        self._params = params or {}
        self._failure = ""
        self._jail: Jail | None = None
        self._initialize()
        if not self._safety_checks:
            raise RuntimeError("All inspectors must define at least one safety check")

    def __str__(self) -> str:
        return self.NAME

    def _trace(self, *args: Any, **kwargs: Any) -> None:
        if self._tracing:
            LOG.debug(*args, **kwargs)

    @abc.abstractmethod
    def _initialize(self) -> None:
        """The first regions and the safety checks are there."""

    def eat_chunk(self, chunk: bytes) -> None:
        """The next bytes of the stream were seen. Raises ImageFormatError where they cannot be of this format, and
        RuntimeError after finish()."""
        if self._finished:
            raise RuntimeError("Inspector has been marked finished, no more data processing allowed")
        self._total_count += len(chunk)
        before = self._complete_regions()
        self._capture(chunk, self._capture_regions.values())
        while True:
            known = list(self._capture_regions.values())
            self.post_process()
            new = [region for region in self._capture_regions.values() if region not in known]
            if not new:
                break
            self._capture(chunk, new)
        for name in self._complete_regions() - before:
            self.region_complete(name)

    def _capture(self, chunk: bytes, regions: Collection[CaptureRegion]) -> None:
        for region in regions:
            region.capture(chunk, self._total_count)

    def _complete_regions(self) -> set[str]:
        return {name for name, region in self._capture_regions.items() if region.complete}

    def finish(self) -> None:
        """The stream has ended here."""
        self._finished = True
        for region in self._capture_regions.values():
            if isinstance(region, EndCaptureRegion):
                region.finish()

    def post_process(self) -> None:  # noqa: B027  to be overridden where wanted
        """Called when a chunk was kept, and again while that brings new regions."""

    def region_complete(self, region_name: str) -> None:  # noqa: B027  likewise
        """Called for a region that has become complete."""

    def region(self, name: str) -> CaptureRegion:
        """The region of this name. Raises KeyError."""
        return self._capture_regions[name]

    def region_name(self, region: CaptureRegion) -> str:
        """The name of the region. Raises ValueError where it is none of this inspector's."""
        for name, mine in self._capture_regions.items():
            if mine is region:
                return name
        raise ValueError("No such region")

    def new_region(self, name: str, region: CaptureRegion) -> None:
        """The region is kept too. Raises ImageFormatError where there is one of the name."""
        if self.has_region(name):
            raise ImageFormatError(f"Inspector re-added region {name}")
        self._capture_regions[name] = region

    def has_region(self, name: str) -> bool:
        """Whether there is a region of this name."""
        return name in self._capture_regions

    def delete_region(self, name: str) -> None:
        """The region is not kept any more. Raises KeyError."""
        del self._capture_regions[name]

    def add_safety_check(self, check: SafetyCheck) -> None:
        """The check is one of those that safety_check() makes. Raises RuntimeError."""
        if not isinstance(check, SafetyCheck):
            raise RuntimeError(f"Unable to add safety check of type {type(check).__name__}")
        if check.name in self._safety_checks:
            raise RuntimeError(f"Duplicate check of name {check.name}")
        self._safety_checks[check.name] = check

    @property
    @abc.abstractmethod
    def format_match(self) -> bool:
        """Whether the stream looks like this format."""

    @property
    def virtual_size(self) -> int:
        """Bytes of the virtual disk, 0 while that is not known."""
        return self._total_count

    @property
    def actual_size(self) -> int:
        """Bytes of the stream up to here."""
        return self._total_count

    @property
    def complete(self) -> bool:
        """Whether nothing more need be seen."""
        return all(region.complete for region in self._capture_regions.values())

    @property
    def context_info(self) -> dict[str, int]:
        """Bytes that are kept, by region."""
        return {name: len(region.data) for name, region in self._capture_regions.items()}

    @classmethod
    def from_file(cls, filename: str) -> Self:
        """An inspector that has read as much of the file as it needed. Raises ImageFormatError where the file is of
        another format, OSError where it cannot be read."""
        inspector = cls()
        with opened(filename) as file:
            for chunk in chunks(file):
                inspector.eat_chunk(chunk)
                if inspector.complete:
                    break
        inspector.finish()
        if not inspector.complete or not inspector.format_match:
            raise ImageFormatError("File is not in requested format")
        return inspector

    def safety_check(self) -> None:
        """Nothing, if the image is safe. Raises SafetyCheckFailed with all checks that fail, and ImageFormatError
        where it cannot be judged."""
        if not self.complete:
            raise ImageFormatError("Incomplete file cannot be safety checked")
        if not self.format_match:
            raise ImageFormatError(f"Unable to safety check format {self} because content does not match")
        failures: dict[str, Exception] = {}
        for check in self._safety_checks.values():
            try:
                check()
            except SafetyViolation as violation:
                violation.check = check
                failures[check.name] = violation
            except SafetyCheckFailed as inner:
                failures.update({f"inner_{name}": failure for name, failure in inner.failures.items()})
        for name, failure in failures.items():
            LOG.warning("Safety check %s on %s failed because %s", name, self, failure)
        if failures:
            raise SafetyCheckFailed(failures)
        if self._failure:
            raise ImageFormatError(self._failure)


class ContainerFileInspector(FileInspector):
    """An inspector of a format that wraps another one, which is checked too once it is known."""

    def __init__(self, tracing: bool = False, params: dict[str, str] | None = None) -> None:
        self._inner_format: FileInspector | None = None
        super().__init__(tracing=tracing, params=params)
        self.add_safety_check(SafetyCheck("inner_safety", self.check_inner_safety))

    @property
    def inner_format(self) -> FileInspector | None:
        """The inspector of what is inside; None where that is not known."""
        return self._inner_format

    def check_inner_safety(self) -> None:
        """Nothing, if what is inside is safe or not known. Raises as safety_check()."""
        if self._inner_format is not None:
            self._inner_format.safety_check()
