"""A stream that is inspected while somebody else reads it."""

from __future__ import annotations

from instar_core.compat.oslo.imageutils.formats import (
    GPTInspector,
    ISOInspector,
    QcowInspector,
    QEDInspector,
    RawFileInspector,
    VDIInspector,
    VHDInspector,
    VHDXInspector,
    VMDKInspector,
)
from instar_core.compat.oslo.imageutils.jail import Jail
from instar_core.compat.oslo.imageutils.luks import LUKSInspector
from instar_core.compat.oslo.imageutils.safety import LOG, ImageFormatError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from instar_core.compat.oslo.imageutils.inspector import FileInspector
    from instar_core.settings import Settings

ALL_FORMATS: dict[str, type[FileInspector]] = {
    inspector.NAME: inspector
    for inspector in (
        RawFileInspector,
        QcowInspector,
        VHDInspector,
        VHDXInspector,
        VMDKInspector,
        VDIInspector,
        QEDInspector,
        ISOInspector,
        GPTInspector,
        LUKSInspector,
    )
}


class InspectWrapper:
    """A file, or an iterator of chunks, whose bytes go to the inspectors of all formats as they are read.

    `allowed_formats` narrows the formats. With `expected_format` reading raises what that format's inspector raises,
    and ImageFormatError as soon as the stream is known to be of another format. What the others raise only excludes
    them. All formats are parsed in one sandbox, as the settings say, which belongs to this stream alone.
    """

    def __init__(
        self,
        source: Any,
        expected_format: str | None = None,
        allowed_formats: Collection[str] | None = None,
        tracing: bool = False,
        params: dict[str, str] | None = None,
        settings: Settings = DEFAULTS,
    ) -> None:
        self._source = source
        self._expected_format = expected_format
        self._errored_inspectors: set[FileInspector] = set()
        self._jail = Jail(settings)
        self._inspectors: set[FileInspector] = set()
        for name, kind in ALL_FORMATS.items():
            if not allowed_formats or name in allowed_formats:
                inspector = kind(tracing=tracing, params=params)
                inspector._jail = self._jail
                self._inspectors.add(inspector)
        self._finished = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = next(self._source)
        except StopIteration:
            self._finish()
            raise
        self._process_chunk(chunk)
        return chunk

    def read(self, size: int) -> bytes:
        """The next bytes of the source. Raises as the class says."""
        chunk: bytes = self._source.read(size)
        self._process_chunk(chunk)
        return chunk

    def _process_chunk(self, chunk: bytes) -> None:
        for inspector in self._inspectors - self._errored_inspectors:
            expected = self._expected_format == inspector.NAME
            try:
                inspector.eat_chunk(chunk)
            except Exception as error:
                if expected:
                    raise
                self._errored_inspectors.add(inspector)
                if not self._expected_format:
                    LOG.debug(
                        "Format inspector for %s does not match, excluding from consideration (%s)",
                        inspector.NAME,
                        error,
                    )
            else:
                if expected and inspector.complete and not inspector.format_match:
                    raise ImageFormatError(f"Content does not match expected format {inspector.NAME!r}")

    def _finish(self) -> None:
        for inspector in self._inspectors:
            inspector.finish()
        self._finished = True
        self._jail.close()

    def close(self) -> None:
        """The source is closed, the stream has ended, and no sandbox is left."""
        try:
            if hasattr(self._source, "close"):
                self._source.close()
        finally:
            self._finish()

    @property
    def formats(self) -> list[FileInspector] | None:
        """The inspectors of all formats that match; that of raw alone where no other does; None while it is not known.

        Raises ImageFormatError where the stream could not be inspected.
        """
        others = [inspector for inspector in self._inspectors if inspector.NAME != "raw"]
        settled = all(each.complete or each in self._errored_inspectors for each in others)
        if not settled and not self._finished:
            return None
        matches = [inspector for inspector in others if inspector.format_match]
        if self._jail.broken:
            raise ImageFormatError(self._jail.broken)
        return matches or [inspector for inspector in self._inspectors if inspector.NAME == "raw"]

    @property
    def format(self) -> FileInspector | None:
        """The inspector of the one format that matches; None while it is not known.

        Raises ImageFormatError where several do, or none that is allowed.
        """
        matches = self.formats
        if matches is None:
            return None
        if len(matches) > 1:
            listed = ",".join(sorted(str(inspector) for inspector in matches))
            raise ImageFormatError(f"Multiple formats detected: {listed}")
        if not matches:
            raise ImageFormatError("Content does not match any allowed format")
        return matches[0]
