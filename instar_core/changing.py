"""An image that is changed in place: locked, parsed in a session, its files open for writing.

The lock is taken before anything is parsed, on the descriptor that is written to, and all files of the image are
reopened through the very descriptors that were judged: nothing can be exchanged in between.
"""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, unlocking

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
    ) -> None:
        """`device` is the image's own file where that is open already (it stays the caller's); else `path` names it.

        `cache` is one of qemu's modes: barriers reach stable storage in all but unsafe; writethrough and directsync put
        each write there; none and directsync go past the page cache. Raises InstarError.
        """
        self.settings = settings
        self.cache = cache
        self.files: list[Device] = []
        first = devices.reopen(device) if device is not None else devices.open_named(chains.plain(path))
        try:
            self._hold(first)
            own = settings._replace(force_share=True)  # the one lock is that of the descriptor that is written to
        except BaseException:
            first.close()
            self._let_go()
            raise
        try:  # from here on the first file is the member's
            self.member: Member = chains.open_member(path, own, "write", format=format, options=options, device=first)
        except BaseException:
            self._let_go()
            raise
        try:
            for further in self.member.devices[1:]:
                self._hold(further)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Changing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The session has ended, every file is closed and every lock gone."""
        self.member.close()
        self._let_go()

    @property
    def held(self) -> frozenset[Any]:
        """The identities of the files that are locked here, for a chain that is read meanwhile."""
        return frozenset(file.identity for file in self.files)

    def apply(self, request: Change, runs: Iterable[Run] = (), cancelled: Callable[[], bool] | None = None) -> int:
        """The change is made, in phases each of which is on stable storage before the next; the number of its edits.

        Raises InstarError; what was done until then leaves the old state or the new one.
        """
        from instar_core.dataplane.apply import Bounds, apply

        member = self.member
        bounds = Bounds(self.files, member.info.virtual_size, max(0, getattr(request, "size", 0)))
        edits = member.session.edits(member.format, request, runs)
        return apply(bounds.kept(edits), self.descriptors, barrier=self._barrier(), cancelled=cancelled)

    def update(
        self,
        pieces: Callable[[int], Iterator[Piece]],
        *,
        compress: bool = False,
        sparse: int = SPARSE,
        progress: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        rate: int = 0,
    ) -> None:
        """The content of the pieces is written into the image; the rest of it stays.

        `pieces` is called with the unit in which content is taken (bytes), and gives pieces that ascend and come in
        whole units. Content is encrypted where the image is. Raises InstarError.
        """
        import os
        import time

        from instar_core.dataplane.apply import Bounds
        from instar_core.dataplane.fill import fill
        from instar_core.types import Update

        member, settings = self.member, self.settings
        request = Update(compress, time.time_ns(), os.urandom(64))
        dialogue = member.session.write(member.format, request)
        geometry = dialogue.geometry
        key = unlocking.key(member.info)
        if geometry.cipher is not None and key is not None:
            from instar_core.sealing import keyed

            geometry = keyed(geometry, key)
        bounds = Bounds(self.files, member.info.virtual_size, 0)
        fill(
            pieces(geometry.unit),
            geometry,
            lambda runs: bounds.kept(dialogue.converse(runs)),
            lambda: bounds.kept(dialogue.finish()),
            self.descriptors,
            sparse=sparse,
            fresh=False,
            progress=progress,
            cancelled=cancelled,
            rate=rate,
            durable=self.cache != "unsafe",
            direct=self.cache in DIRECT,
            sandbox=settings.sandbox,
            guarded=bool(settings.keyring),
        )

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that are written to, device 0 first."""
        return [file.descriptor for file in self.files]

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
