"""The host's end of a format session: requests out, checked answers in.

A session that erred, or whose stream was cut short, is destroyed and not used again.
"""

from __future__ import annotations

import instar_sandbox

from instar_core import launch, limits, validate, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError, SandboxError, Unusable
from instar_core.requests import wanted_size
from instar_core.types import (
    Amend,
    BitmapEdit,
    Create,
    Empty,
    LayerKind,
    Put,
    Rebase,
    Repair,
    Resize,
    SnapshotEdit,
    Update,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from instar_core.columns import Columns
    from instar_core.device import Device
    from instar_core.partitions import Table
    from instar_core.settings import Settings
    from instar_core.types import (
        Change,
        Edit,
        Extent,
        Finding,
        Geometry,
        ImageInfo,
        KeyPlan,
        Layer,
        Match,
        Run,
        Tally,
        WriteRequest,
    )

PATIENCE = 4
"""A worker that has not answered in this many times its CPU budget waits for something that will not come."""

ANSWERED, EDIT = 4 << 20, 256
"""Bytes of a plugin's edits that wait until it has further runs to work on, and those of an edit beside its data."""

METADATA = 8
"""No format has more than this part of its virtual size as metadata: qcow2 has 8 bytes for each cluster of 512 or more,
and as much again for its refcounts."""

KINDS: dict[type[WriteRequest], str] = {
    Create: "create",
    SnapshotEdit: "snapshot",
    Repair: "repair",
    Amend: "amend",
    Update: "update",
    Resize: "resize",
    Rebase: "rebase",
    Empty: "empty",
    BitmapEdit: "bitmap",
}
"""What each request for a change is called on the wire."""

ERRORS = {"FormatError": FormatError, "ContractViolation": ContractViolation}


class Probed:
    """What a worker saw in a file: candidate formats by signature, the claims of their plugins, evidence that it is
    raw."""

    __slots__ = ("candidates", "evidence", "matches", "unusable")

    def __init__(self, value: Any) -> None:
        if type(value) is not tuple or len(value) != 4:
            raise ContractViolation("the answer to a probe cannot be read")
        candidates, matches, unusable, evidence = value
        self.candidates: tuple[str, ...] = candidates
        self.matches: list[Match] = [validate.match(item) for item in matches]
        for claim in self.matches:
            if claim.format not in candidates:
                raise ContractViolation(
                    f"a plugin claims the file for the format {claim.format:.40}, which is not its own"
                )
        self.unusable: dict[str, str] = unusable
        self.evidence: str | None = evidence


class FormatSession:
    """One image being parsed by one plugin. A context manager."""

    def __init__(
        self,
        devices: Sequence[Device],
        operation: str,
        settings: Settings,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        started: instar_sandbox.Session | None = None,
    ) -> None:
        """`started` is the session if launch.begin has started it already, with these same arguments."""
        self.devices = tuple(devices)
        self.format = format
        self._operation = operation
        self._session = started or launch.start(devices, operation, settings, format, options)
        self._busy = False
        self._patience = PATIENCE * launch.budget(operation, devices, settings).cpu

    def __enter__(self) -> FormatSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The worker is gone."""
        self._session.close()

    def probe(self) -> Probed:
        """What the file looks like."""
        return Probed(self._value("probe"))

    def partitions(self) -> Table:
        """The partition table that the file shows, were it a raw disk, checked. For the operation inspect."""
        return validate.partitions(self._value("partitions"))

    def info(self, name: str) -> ImageInfo:
        """What the image says of itself, checked; unless it is only to be shown or examined, ready for its content to
        be read."""
        info = validate.image_info(self._value("info", name), name)
        if self._operation in ("info", "inspect", "check") or not info.codings:
            return info
        from instar_core.owncodings import tied

        return tied(info)

    def map(self, name: str, info: ImageInfo, layer: Layer, start: int, length: int) -> Iterator[Extent]:
        """Checked extents of a window. The session can do nothing else until they are used up."""
        from instar_core.columns import Stream

        return iter(Stream(self.columns(name, info, layer, start, length)))

    def columns(self, name: str, info: ImageInfo, layer: Layer, start: int, length: int) -> Iterator[Columns]:
        """The same, in columns."""
        from instar_core import columns, validate_map

        sizes = [device.size for device in self.devices]
        batches = (columns.unpack(body) for tag, body in self._stream("map", name, layer, start, length) if tag)
        return validate_map.columns(batches, start, length, info, sizes, placed=layer.kind != LayerKind.BITMAP)

    def check(self, name: str) -> Iterator[Finding | Tally]:
        """Checked findings, and last the tally."""
        count = 0
        for _, body in self._stream("check", name):
            for found in validate.findings(wire.decode(body)):
                count += 1
                if count > limits.FINDINGS:
                    raise FormatError(f"more than {limits.FINDINGS} findings", kind=ErrorKind.LIMIT)
                yield found

    def unlock(self, name: str) -> KeyPlan:
        """Key slots and parameters, checked."""
        return validate.key_plan(self._value("unlock", name))

    def seal(self, name: str, request: Create | Amend) -> KeyPlan:
        """The key slots that the request needs made, checked, still to be filled."""
        return validate.key_order(self._value("seal", name, KINDS[type(request)], request))

    def edits(self, name: str, request: Change, runs: Iterable[Run] = ()) -> Iterator[Edit]:
        """The edits of a change to an existing image, together at most as long as its files, its metadata for the size
        that it gets, limits.UNIT more, and limits.BITMAP where bits are set."""
        grown = wanted_size(request) // METADATA
        if isinstance(request, BitmapEdit):
            grown = limits.BITMAP
        left = limits.UNIT + sum(device.size for device in self.devices) + grown
        rest = iter(runs)
        for tag, body in self._stream("write", name, KINDS[type(request)], request):
            if tag == wire.EDITS:
                left -= len(body)
                if left < 0:
                    raise ContractViolation("a change is longer than the image")
                yield from wire.unpack_edits(body)
            elif tag == wire.WANT:
                batch = [run for _, run in zip(range(limits.BATCH), rest, strict=False)]
                self.send(wire.RUNS + wire.pack_runs(batch) if batch else wire.RUNS_END)
            else:
                raise ContractViolation("a worker answered with something else than edits")

    def write(self, name: str, request: Create | Update) -> Dialogue:
        """The dialogue that makes a new image, or writes into the one that there is."""
        return Dialogue(self, self._stream("write", name, KINDS[type(request)], request))

    def _value(self, *request: Any) -> Any:
        values: list[Any] = []
        for tag, body in self._stream(*request):
            if tag != wire.VALUE or values:
                raise ContractViolation("a worker gave more than the one answer wanted")
            values.append(wire.decode(body))
        if not values:
            raise ContractViolation("a worker gave no answer")
        return values[0]

    def _stream(self, *request: Any) -> Iterator[tuple[bytes, bytes]]:
        if self._busy:
            raise ContractViolation("the session is still giving an earlier answer")
        self._busy = True
        finished = False
        try:
            self.send(wire.REQUEST + wire.encode(request))
            while True:
                frame = self._receive()
                tag = frame[:1]
                if tag == wire.DONE:
                    finished = True
                    return
                if tag == wire.ERROR:
                    raise _error(wire.decode(frame[1:]))
                yield tag, frame[1:]
        finally:
            self._busy = False
            if not finished:
                self._session.kill()

    def send(self, frame: bytes) -> None:
        """The frame is on its way to the worker."""
        try:
            self._session.send(frame)
        except instar_sandbox.JailError as error:
            raise SandboxError(str(error)) from error

    def _receive(self) -> bytes:
        try:
            return self._session.receive(self._patience)
        except instar_sandbox.JailError as error:
            raise SandboxError(str(error)) from error


class Dialogue:
    """The filling of an image: the plugin states its geometry, is given runs, and answers with edits."""

    def __init__(self, session: FormatSession, stream: Iterator[tuple[bytes, bytes]]) -> None:
        self._session = session
        self._stream = stream
        tag, body = next(stream)
        if tag != wire.VALUE:
            raise ContractViolation("a writer did not state its geometry first")
        self.geometry: Geometry = validate.geometry(wire.decode(body))
        self._wants = False

    def converse(self, runs: Sequence[Run]) -> Iterator[Edit]:
        """The runs are handed over, and these are the edits that the plugin answered earlier ones with: while they are
        carried out it works on the next.

        Many come as they are asked for, before anything is handed over: a plugin that never stops must not fill the
        host's memory.
        """
        for at in range(0, len(runs), limits.BATCH):
            answered: list[Edit] = []
            size = 0
            for edit in self._until_wanted():
                answered.append(edit)
                size += EDIT + (len(edit.data) if isinstance(edit, Put) else 0)
                if size > ANSWERED:
                    yield from answered
                    answered.clear()
                    size = 0
            if not self._wants:
                raise ContractViolation("a writer ended before it had seen all runs")
            self._wants = False
            self._session.send(wire.RUNS + wire.pack_runs(runs[at : at + limits.BATCH]))
            yield from answered

    def finish(self) -> Iterator[Edit]:
        """The rest of the edits, the committing ones last."""
        yield from self._until_wanted()
        if self._wants:
            self._session.send(wire.RUNS_END)
            self._wants = False
            yield from self._until_wanted()
        if self._wants:
            raise ContractViolation("a writer wants runs after the last one")

    def _until_wanted(self) -> Iterator[Edit]:
        if self._wants:
            return
        for tag, body in self._stream:
            if tag == wire.WANT:
                self._wants = True
                return
            if tag != wire.EDITS:
                raise ContractViolation("a worker answered with something else than edits")
            yield from wire.unpack_edits(body)


def _error(value: Any) -> InstarError:
    """The error that a worker reported, as one of ours; its text is data and is cut to size."""
    if type(value) is not tuple or len(value) != 4:
        return ContractViolation("a worker's error cannot be read")
    name, kind, offset, message = value
    text = message[: limits.MESSAGE] if type(message) is str else "a worker failed without saying why"
    if kind == ErrorKind.MISSING and name == "InstarError":
        return Unusable(text)
    cls: Callable[..., InstarError] = ERRORS.get(name, FormatError)
    known = {v for k, v in vars(ErrorKind).items() if k.isupper()}
    return cls(text, kind=kind if kind in known else None, offset=offset if type(offset) is int else None)
