"""An image that is changed in place: locked, parsed in a session, its files open for writing.

The lock is taken before anything is parsed, on the descriptor that is written to, and all files of the image are
reopened through the very descriptors that were judged: nothing can be exchanged in between.
"""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, registry, unlocking
from instar_core.errors import ErrorKind, FormatError, InstarError, PolicyError, UsageError
from instar_core.requests import wanted_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.piece import Piece
    from instar_core.settings import Settings
    from instar_core.types import Change, Run

SPARSE = 4096
"""Least run of zero bytes that is left out of what is written."""

RECOVERIES = 4
"""Most repairs of an image that was not closed cleanly: one may only show what else is wrong."""

SYNCHRONOUS = ("writethrough", "directsync")
DIRECT = ("none", "directsync")


class Changing:
    """A context manager. `member` is the image, in a session that plans its changes; images below it are not open."""

    def __init__(
        self,
        path: str,
        settings: Settings,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        cache: str = "writeback",
        device: Device | None = None,
        foreseen: str = "",
    ) -> None:
        """`device` is the image's own file where that is open already (it stays the caller's); else `path` names it.

        `foreseen` is the one kind of request that will be made, if it is but one: the worker gets ready for no more,
        and another kind costs a further worker. `cache` is one of qemu's modes: barriers reach stable storage in all
        but unsafe; writethrough and directsync put each write there; none and directsync go past the page cache. Raises
        InstarError.
        """
        if format is not None and not registry.known(format):
            raise UsageError(f"Unknown driver '{format}'", path=path)
        if options:
            from instar_core import chosen

            chosen.require_changeable(path, settings, format, options)
        self.settings = settings
        self.cache = cache
        self._options = options
        self._operation = f"write/{foreseen}" if foreseen else "write"
        self._settled = True
        self.files: list[Device] = []
        first = devices.reopen(device) if device is not None else devices.open_named(chains.plain(path), writable=True)
        # The one lock is that of the descriptor that is written to.
        self._parsed = path, settings._replace(force_share=True), format, options
        try:
            self._hold(first)
        except BaseException:
            first.close()
            self._let_go()
            raise
        try:  # from here on the first file is the member's
            self.member = self._parse(first)
        except BaseException:
            self._let_go()
            raise
        try:
            for further in self.member.devices[1:]:
                self._hold(further)
            if self.member.info.details.get("corrupt"):
                name = self.member.format
                raise FormatError(f"{name}: Image is corrupt; cannot be opened read/write", kind=ErrorKind.CORRUPT)
            if self.member.info.dirty:
                self._recover()
        except BaseException as error:
            self.close()
            if isinstance(error, InstarError) and error.path is None:
                error.path = path
            raise

    def __enter__(self) -> Changing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The session has ended, every file is closed and every lock gone."""
        self.member.close()
        self._let_go()

    def chain(self, held: frozenset[Any] = frozenset()) -> Member:
        """The image and those below it, open for reading beside the session that plans changes; the caller's to close.

        Files of the identities `held` are locked by the caller, as the image's own are here. Raises InstarError, also
        where another file has come to the image's name.
        """
        member = self.member
        top = chains.open_chain(
            member.path,
            self.settings,
            "map",
            format=member.format,
            options=self._options,
            device=devices.once_more(self.files[0]),
            held=self.held | held,
        )
        if top.devices[0].identity not in self.held:
            top.close()
            raise InstarError("the image was exchanged while it was opened", path=member.path)
        return top

    def require_chain(self) -> None:
        """Raises InstarError where an image below cannot be opened, as qemu-img does whatever is to be changed. What
        only a rule forbids is judged when it is read."""
        if not self.settings.as_qemu or self.member.reference() is None:
            return
        try:
            self.chain().close()
        except PolicyError:
            return

    def afresh(self) -> None:
        """The image is parsed anew: a further change builds on what the last one wrote. Locks and key stay.

        Raises InstarError, also where the image does not consist of the same files any more.
        """
        before = self.member
        before.close()
        path, settings, _, options = self._parsed
        self._parsed = path, settings._replace(qemu=False), before.format, unlocking.own(options or {})
        self.member = self._parse(devices.reopen(self.files[0]))
        if unlocking.key(before.info) is not None:
            self.member.info = self.member.info._replace(codings=before.info.codings, blocked=before.info.blocked)
        if [one.identity for one in self.member.devices] != [one.identity for one in self.files]:
            raise InstarError("the files of the image were exchanged while it was changed", path=path)
        for file in self.files:
            file.refresh()

    def _recover(self) -> None:
        """An image that was not closed cleanly is sound before it is changed, where its format can be repaired; what
        remains dirty is the plugin's to refuse."""
        import os
        import time

        from instar_core.types import Capability, Repair

        for _ in range(RECOVERIES):
            if not self.member.info.dirty or Capability.REPAIR not in registry.spec(self.member.format).capabilities:
                return
            if not self.apply(Repair("all", time.time_ns(), os.urandom(64))):
                return
            self.afresh()

    @property
    def held(self) -> frozenset[Any]:
        """The identities of the files that are locked here, for a chain that is read meanwhile."""
        return frozenset(file.identity for file in self.files)

    def apply(self, request: Change, runs: Iterable[Run] = (), cancelled: Callable[[], bool] | None = None) -> int:
        """The change is made, in phases each of which is on stable storage before the next; the number of its edits.

        Raises InstarError; what was done until then leaves the old state or the new one.
        """
        from instar_core.dataplane.apply import Bounds, apply
        from instar_core.session import KINDS

        self._foresee(KINDS[type(request)])
        member = self.member
        bounds = Bounds(self.files, member.info, wanted_size(request))
        edits = member.session.edits(member.format, request, runs)
        settled, self._settled = self._settled, False
        kept = bounds.kept(edits)
        count = apply(kept, self.descriptors, barrier=self._barrier(), cancelled=cancelled, settled=settled)
        self._settled = True
        return count

    def update(
        self,
        pieces: Callable[[int], Iterator[Piece]],
        *,
        compress: bool = False,
        sparse: int = SPARSE,
        progress: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        rate: int = 0,
        wanted: Callable[[Sequence[Run]], Sequence[Run]] | None = None,
        keep: bool = False,
        opaque: bool = False,
        copy_range: bool = False,
        salvage: Callable[[int, str], None] | None = None,
    ) -> None:
        """The content of the pieces is written into the image; the rest of it stays.

        `pieces` is called with the unit in which content is taken (bytes), and gives pieces that ascend and come in
        whole units. Content is encrypted where the image is. `wanted` may leave out ZERO runs, in whole units, of those
        that are found. With `keep` images that stand on this one go on standing on it; with `opaque` zeros stay zeros
        over any backing file that the image names later. `copy_range` has the kernel move plain content, without
        looking for zeros in it. `salvage` is told of sectors that cannot be read, and count as zeros. Raises
        InstarError, FormatError of kind UNSUPPORTED before anything is asked for or written where the image cannot be
        written.
        """
        import os
        import time

        from instar_core.dataplane.apply import Bounds
        from instar_core.dataplane.fill import fill
        from instar_core.effort import compressing
        from instar_core.types import Update

        self._foresee("update")
        member, settings = self.member, self.settings
        if member.info.blocked:
            raise FormatError(member.info.blocked, kind=ErrorKind.UNSUPPORTED, path=member.path)
        request = Update(compress, time.time_ns(), os.urandom(64), keep, opaque)
        dialogue = member.session.write(member.format, request)
        geometry = compressing(dialogue.geometry, settings.compression)
        key = unlocking.key(member.info)
        if geometry.cipher is not None and key is not None:
            from instar_core.sealing import keyed

            geometry = keyed(geometry, key)
        bounds = Bounds(self.files, member.info)
        self._settled = False
        fill(
            pieces(geometry.unit),
            geometry,
            lambda runs: bounds.kept(dialogue.converse(runs if wanted is None else wanted(runs))),
            lambda: bounds.kept(dialogue.finish()),
            self.descriptors,
            sparse=sparse,
            fresh=False,
            copy_range=copy_range,
            progress=progress,
            cancelled=cancelled,
            rate=rate,
            durable=self.cache != "unsafe",
            direct=self.cache in DIRECT,
            sandbox=settings.sandbox,
            guarded=bool(settings.keyring),
            salvage=salvage,
        )

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that are written to, device 0 first."""
        return [file.descriptor for file in self.files]

    def _parse(self, device: Device) -> Member:
        path, settings, format, options = self._parsed
        return chains.open_member(path, settings, self._operation, format=format, options=options, device=device)

    def _foresee(self, kind: str) -> None:
        """The worker is ready for requests of this kind."""
        if self._operation not in ("write", f"write/{kind}"):
            self._operation = "write"
            self.afresh()

    def _hold(self, file: Device) -> None:
        """The file is open for writing as well, and locked."""
        self.files.append(devices.reopen(file, write=True, sync=self.cache in SYNCHRONOUS))
        locks.take(self.files[-1], locks.CHANGE)

    def _let_go(self) -> None:
        for file in self.files:
            file.close()

    def _barrier(self) -> Callable[[Sequence[int]], None]:
        if self.cache == "unsafe":
            return lambda _: None
        from instar_core.dataplane.edits import flush

        return flush
