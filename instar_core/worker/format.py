"""The program of a format session: it parses one image with one plugin, inside the sandbox.

`prepare` runs before the walls are up: it compares the file with the signature table, imports the plugins that are
candidates and what they preload. `serve` runs behind the walls and answers requests until the host hangs up.
"""

from __future__ import annotations

import os
import sys
from itertools import islice

from instar_core import limits, signatures, wire
from instar_core.errors import ErrorKind, InstarError, Unusable
from instar_core.source import Image, Source, descriptor_source
from instar_core.spec import misfit
from instar_core.types import (
    Amend,
    BitmapEdit,
    Create,
    Empty,
    KeyPlan,
    KeySlot,
    Layer,
    ProbeView,
    Rebase,
    Repair,
    Resize,
    SnapshotEdit,
    Span,
    Update,
)
from instar_core.worker import relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType
    from typing import Any, Protocol

    from instar_core.columns import Columns
    from instar_core.types import Edit, Extent, FormatSpec, Geometry, Run, WriteRequest

    class Channel(Protocol):
        """The worker's end of a session."""

        def send(self, frame: bytes) -> None:
            """The frame is on its way to the host."""

        def receive(self) -> bytes:
            """The host's next frame. Raises EOFError at the end."""


REQUESTS: dict[str, type[WriteRequest]] = {
    "create": Create,
    "snapshot": SnapshotEdit,
    "repair": Repair,
    "amend": Amend,
    "update": Update,
    "resize": Resize,
    "rebase": Rebase,
    "empty": Empty,
    "bitmap": BitmapEdit,
}
INSPECTING = ("instar_core.partitions", "zlib")
"""What is imported where an image is inspected, beside its plugin."""
ARRAY, COLUMNS = "instar_core.lightarray", "instar_core.columns"
"""What is imported where tables are read, and where a map may be asked for."""
EDIT_BYTES = limits.FRAME // 4


class State:
    """What a session knows once its walls are up."""

    __slots__ = ("candidates", "hooks", "image", "unusable", "view")

    def __init__(self) -> None:
        self.view: ProbeView | None = None
        self.candidates: list[str] = []
        self.hooks: dict[str, ModuleType] = {}
        self.unusable: dict[str, str] = {}
        self.image: Image | None = None


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> State:
    """Candidates found, their plugins imported. Runs before the walls, and so only compares bytes with signatures.

    `argument` holds: plugins (name → module:attribute), operation, format or None, devices ((size, allocated), …),
    options.
    """
    order = wire.decode(argument)
    state = State()
    sources = [
        descriptor_source(descriptor, size, allocated)
        for descriptor, (size, allocated) in zip(descriptors, order["devices"], strict=True)
    ]
    if sources:
        state.view = view(sources[0])
        state.image = Image(sources, order["options"])
    if order["operation"] == "inspect":
        for module in INSPECTING:
            __import__(module)
    chosen = order["format"]
    if chosen is None and state.view is not None:
        state.candidates = signatures.candidates(*state.view) + strangers(state.view, order["plugins"])
    for name in [chosen] if chosen else [*state.candidates, "raw"]:
        value = order["plugins"].get(name)
        if value is not None:
            try:
                state.hooks[name] = load(name, value, order["operation"])
            except Unusable as error:
                state.unusable[name] = error.message
            except Exception as error:  # a plugin may fail in any way when imported, and must harm nobody else
                state.unusable[name] = f"{type(error).__name__}: {error}"
    return state


def strangers(view: ProbeView, plugins: Mapping[str, str]) -> list[str]:
    """Formats that the core's table does not know and whose own signature stands in the file.

    Their specifications are imported for it, which costs nothing where there are none; one that cannot be used has
    no say.
    """
    found = []
    for name in plugins.keys() - signatures.NAMES:
        try:
            spec = specification(name, plugins[name])
        except Exception:  # noqa: S112  it harms nobody else; asked for by name it says what is wrong
            continue
        if any(signatures.stands(signature, *view) for signature in spec.signatures):
            found.append(name)
    return found


def specification(name: str, value: str) -> FormatSpec:
    """What an entry point's value leads to. Raises Unusable where that cannot be used, and whatever the import does."""
    module, _, attribute = value.partition(":")
    __import__(module)
    spec = getattr(sys.modules[module], attribute)
    reason = misfit(spec, name)
    if reason:
        raise Unusable(reason)
    return spec  # type: ignore[no-any-return]  # misfit has looked


def load(name: str, value: str, operation: str) -> ModuleType:
    """The hooks module of the plugin that an entry point's value leads to, with what the operation needs imported.

    Where only one kind of request will be made the operation is write/KIND, for which a plugin may name less.
    """
    if operation not in ("info", "inspect"):
        __import__(ARRAY if operation == "check" else COLUMNS)
    spec = specification(name, value)
    __import__(spec.hooks)
    needed = spec.preload.get(operation)
    if needed is None:
        needed = spec.preload.get(operation.partition("/")[0], ())
    for module in (*spec.preload.get("info", ()), *needed):
        __import__(module)
    return sys.modules[spec.hooks]


def view(source: Source) -> ProbeView:
    """Head, tail and size of a file."""
    head = source.read(0, min(source.size, limits.PROBE_HEAD))
    tail_size = min(source.size, limits.PROBE_TAIL)
    return ProbeView(head, source.read(source.size - tail_size, tail_size), source.size)


def serve(state: State, channel: Channel) -> None:
    """Requests answered until the host closes the channel."""
    while True:
        try:
            frame = channel.receive()
        except EOFError:
            return
        if frame[:1] != wire.REQUEST:
            return
        name, *arguments = wire.decode(frame[1:])
        try:
            ANSWERS[name](state, channel, *arguments)
        except InstarError as error:
            _fail(channel, error.kind, error.offset, error.message, type(error).__name__)
        except MemoryError:
            raise
        except Exception as error:  # whatever a plugin raises is reported, and the host destroys the session
            _fail(channel, ErrorKind.CONTRACT, None, f"{type(error).__name__}: {error}", "ContractViolation")
            if os.environ.get("INSTAR_DEBUG"):
                raise
        else:
            channel.send(wire.DONE)


def _fail(channel: Channel, kind: str, offset: int | None, message: str, name: str) -> None:
    text = "".join(c if c.isprintable() else "?" for c in message[: limits.MESSAGE])
    channel.send(wire.ERROR + wire.encode([name, kind, offset, text]))


def _module(state: State, name: str) -> ModuleType:
    module = state.hooks.get(name)
    if module is None:
        why = state.unusable.get(name)
        text = f"the plugin {name} cannot be used: {why}" if why else f"no plugin {name} in this session"
        raise InstarError(text, kind=ErrorKind.MISSING)
    return module


def answer_probe(state: State, channel: Channel) -> None:
    """Candidates, what each plugin says, and what could not be loaded."""
    if state.view is None:
        raise InstarError("this session has no image", kind=ErrorKind.USAGE)
    matches = []
    for name, module in state.hooks.items():
        if name == "raw":
            continue
        match = relay.call(module, "instar_probe", view=state.view)
        if match is not None:
            matches.append(match)
    evidence = None if state.candidates else signatures.evidence_of_raw(*state.view)
    channel.send(wire.VALUE + wire.encode([state.candidates, matches, state.unusable, evidence]))


def answer_partitions(state: State, channel: Channel) -> None:
    """The partition table that the file shows, were it a raw disk."""
    if state.view is None:
        raise InstarError("this session has no image", kind=ErrorKind.USAGE)
    from instar_core.partitions import table

    channel.send(wire.VALUE + wire.encode(table(state.view.head, state.view.size)))


def answer_info(state: State, channel: Channel, name: str) -> None:
    """The plugin's ImageInfo."""
    channel.send(wire.VALUE + wire.encode(relay.call(_module(state, name), "instar_info", image=state.image)))


def answer_map(state: State, channel: Channel, name: str, layer: tuple[str, str], start: int, length: int) -> None:
    """The plugin's extents in batches."""
    extents = relay.call(
        _module(state, name), "instar_map", image=state.image, layer=Layer(*layer), span=Span(start, length)
    )
    from instar_core import columns

    for batch in extents.batches if isinstance(extents, columns.Stream) else _batches(extents):
        channel.send(wire.EXTENTS + columns.pack(batch))


def _batches(extents: Iterable[Extent]) -> Iterator[Columns]:
    from instar_core import columns

    rest = iter(extents)
    while batch := list(islice(rest, limits.BATCH)):
        yield from columns.split(batch)


def answer_check(state: State, channel: Channel, name: str) -> None:
    """The plugin's findings and its tally, in batches; what was found before an error comes before the error."""
    batch: list[tuple[str, object]] = []
    try:
        for found in relay.call(_module(state, name), "instar_check", image=state.image):
            batch.append((type(found).__name__, found))
            if len(batch) == limits.BATCH // 8:
                channel.send(wire.VALUE + wire.encode(batch))
                batch = []
    finally:
        channel.send(wire.VALUE + wire.encode(batch))


def answer_unlock(state: State, channel: Channel, name: str) -> None:
    """The plugin's key plan."""
    channel.send(wire.VALUE + wire.encode(relay.call(_module(state, name), "instar_unlock", image=state.image)))


def answer_seal(state: State, channel: Channel, name: str, kind: str, fields: tuple[Any, ...]) -> None:
    """The key slots that the plugin wants made."""
    plan = relay.call(_module(state, name), "instar_seal", image=state.image, request=requested(kind, fields))
    channel.send(wire.VALUE + wire.encode(plan))


def requested(kind: str, fields: tuple[Any, ...]) -> WriteRequest:
    """The request as the plugin gets it, its key plan a KeyPlan again."""
    request = REQUESTS[kind]._make(fields)
    if isinstance(request, Create | Amend) and request.keys is not None:
        plan = KeyPlan._make(request.keys)
        request = request._replace(keys=plan._replace(slots=tuple([KeySlot._make(slot) for slot in plan.slots])))
    return request


def answer_write(state: State, channel: Channel, name: str, kind: str, fields: tuple[Any, ...]) -> None:
    """The dialogue of a change: geometry first (for Create and Update), then edits as the runs arrive."""
    request = requested(kind, fields)
    outbox = Outbox(channel)
    edits = iter(
        relay.call(_module(state, name), "instar_write", image=state.image, request=request, runs=outbox.runs())
    )
    if kind in ("create", "update"):
        geometry: Geometry = next(edits)
        channel.send(wire.VALUE + wire.encode(geometry))
    for edit in edits:
        outbox.put(edit)
    outbox.flush()


class Outbox:
    """Edits on their way to the host: sent when many are waiting, and before the host is asked for runs."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.waiting: list[bytes] = []
        self.size = 0

    def put(self, edit: Edit) -> None:
        """The edit is sent, at the latest by the next flush."""
        packed = wire.pack_edit(edit)
        self.waiting.append(packed)
        self.size += len(packed)
        if self.size > EDIT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Nothing waits any more."""
        if self.waiting:
            self.channel.send(wire.EDITS + b"".join(self.waiting))
            self.waiting.clear()
            self.size = 0

    def runs(self) -> Iterator[Run]:
        """The host's runs, asked for batch by batch."""
        while True:
            self.flush()
            self.channel.send(wire.WANT)
            frame = self.channel.receive()
            if frame[:1] == wire.RUNS_END:
                return
            yield from wire.unpack_runs(frame[1:])


def answer_decode(state: State, channel: Channel, name: str, params: Mapping[str, Any], stored: bytes) -> None:
    """One piece decoded by the plugin."""
    channel.send(
        wire.VALUE + wire.encode(relay.call(_module(state, name), "instar_decode", params=params, stored=stored))
    )


ANSWERS: dict[str, Callable[..., None]] = {
    "probe": answer_probe,
    "partitions": answer_partitions,
    "info": answer_info,
    "map": answer_map,
    "check": answer_check,
    "unlock": answer_unlock,
    "seal": answer_seal,
    "write": answer_write,
    "decode": answer_decode,
}
