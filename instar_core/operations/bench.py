"""bench: how fast an image is read or written in small requests."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import merge, stretches
from instar_core.changing import DIRECT, Changing
from instar_core.errors import ErrorKind, InstarError
from instar_core.piece import Piece
from instar_core.results import Bench
from instar_core.settings import DEFAULTS
from instar_core.types import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.dataplane.benching import Places, Requests
    from instar_core.device import Device
    from instar_core.settings import Settings

COUNT, DEPTH, SIZE = 75_000, 64, 4096


def bench(
    path: str,
    *,
    count: int = COUNT,
    depth: int = DEPTH,
    size: int = SIZE,
    offset: int = 0,
    step: int = 0,
    write: bool = False,
    pattern: int = 0,
    flush_interval: int = 0,
    drain: bool = True,
    cache: str = "writeback",
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    begun: Callable[[], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Bench:
    """How long `count` requests of `size` bytes take, `depth` of them at once, the first at `offset`, each `step` bytes
    further (0: `size`), from the start again at the end of the disk.

    With `write` bytes of this `pattern` are written, and all is flushed after every `flush_interval` requests (0:
    never), if it is to `drain` when those before have ended. Units of the image that are not its own yet are allocated
    first, with the content that they show; the time that takes counts. `begun` is called before the first request.
    Raises InstarError.
    """
    from instar_core.dataplane.benching import Requests

    if not write:
        with chains.open_chain(path, settings, "map", format=format, options=open_options) as top:
            requests = Requests(count, size, offset, step or size, top.info.virtual_size)
            if begun is not None:
                begun()
            return _read(top, requests, depth, cache in DIRECT, settings, cancelled)
    if settings.force_share:
        raise InstarError("force-share=on can only be used with read-only images", path=path)
    with Changing(path, settings, format=format, options=open_options, cache=cache, foreseen="update") as image:
        if image.member.info.encrypted:
            raise InstarError("Writing to encrypted images is not measured", kind=ErrorKind.UNSUPPORTED, path=path)
        image.require_chain()
        requests = Requests(count, size, offset, step or size, image.member.info.virtual_size)
        if begun is not None:
            begun()
        requests.check(requests.place(0))
        return _write(image, requests, depth, pattern, (flush_interval, drain), cancelled)


def _read(
    top: Member, requests: Requests, depth: int, direct: bool, settings: Settings, cancelled: Callable[[], bool] | None
) -> Bench:
    from instar_core.dataplane.benching import Places, Run, reader
    from instar_core.dataplane.content import Content

    start, end = requests.region()
    files: dict[int, Device] = {}
    content = Content(
        lambda at, length: stretches.pieces(top, start=at, length=length),
        sandbox=settings.sandbox,
        guarded=bool(settings.keyring),
    )
    try:
        files.update(_direct(top) if direct else {})
        found = stretches.pieces(top, start=start, length=end - start)
        places = Places(
            piece._replace(descriptor=files[piece.descriptor].descriptor) if piece.descriptor in files else piece
            for piece in found
        )
        run = Run(requests, reader(places, content.read), depth, cancelled=cancelled)
        return Bench(run.timed(), requests.count, run.threads)
    finally:
        content.close()
        for device in files.values():
            device.close()


def _direct(top: Member) -> dict[int, Device]:
    """The files of the chain opened once more to be read past the page cache, by the descriptors that they have.

    The ones that are there stay as they are: who parses reads through them, and not by whole sectors.
    """
    from instar_core.dataplane.positional import set_direct

    found = {}
    for member in top.members():
        for device in member.devices:
            again = devices.reopen(device)
            if set_direct(again.descriptor, True):
                found[device.descriptor] = again
            else:
                again.close()
    return found


def _write(
    image: Changing,
    requests: Requests,
    depth: int,
    pattern: int,
    flushing: tuple[int, bool],
    cancelled: Callable[[], bool] | None,
) -> Bench:
    import time

    from instar_core.dataplane.benching import Run, writer
    from instar_core.dataplane.edits import flush
    from instar_core.dataplane.positional import set_direct

    began = time.perf_counter()
    places = _allocated(image, requests)
    spent = time.perf_counter() - began
    if image.cache in DIRECT:
        for file in image.descriptors:
            set_direct(file, True)
    interval, drain = flushing
    run = Run(
        requests,
        writer(places),
        depth,
        pattern=pattern,
        flush=None if image.cache == "unsafe" else lambda: flush(image.descriptors),
        interval=interval,
        drain=drain,
        cancelled=cancelled,
    )
    seconds = run.timed()
    return Bench(spent + seconds, requests.count, run.threads)


def _allocated(image: Changing, requests: Requests) -> Places:
    """The region of the requests, all of it in the image's own files and nobody else's."""
    from instar_core.dataplane.benching import Places

    start, end = requests.region()
    with image.chain() as there:

        def present(unit: int) -> Iterator[Piece]:
            first = start // unit * unit
            last = min(-(-end // unit) * unit, requests.disk)
            return stretches.pieces(there, start=first, length=last - first)

        image.update(present, sparse=0)

    def written(there: Member) -> Iterator[Piece]:
        for extent, member, depth in merge.extents(there, start=start, length=end - start):
            if extent.kind != Kind.DATA or extent.coding or depth:
                raise InstarError(f"the content at {extent.start} has no place of its own", path=member.path)
            yield Piece(extent.start, extent.length, False, image.descriptors[extent.device], extent.offset)

    with image.chain() as there:
        return Places(written(there))
