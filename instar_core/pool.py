"""A pool of sandboxes that stand ready, for services: one image each, then destroyed; the next stands ready already.

`Pool.settings` goes into any operation; the sessions of that operation which parse images then come from the pool.
Every thread may use it. docs/pool.md says what it promises.
"""

from __future__ import annotations

import os
import threading
import weakref

import instar_sandbox
from instar_sandbox.remote import ForkServer
from instar_sandbox.stock import Call, Stock
from instar_sandbox.warm import Warm, warm

from instar_core import guests, launch, limits
from instar_core.errors import SandboxError, UsageError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import Any, ParamSpec, Self, TypeVar

    from instar_sandbox.kvm.store import Snapshot

    from instar_core.settings import Settings

    P = ParamSpec("P")
    T = TypeVar("T")

LARGEST = 256
"""Sandboxes that may stand ready: each is a process and takes memory."""
BUSY = 4
"""Callers at once for each sandbox that stands ready, unless `most` says otherwise."""
GRACE = 10.0
"""Seconds that close() gives to operations that are under way."""
BOUNDS = instar_sandbox.Limits(limits.MAP_CPU + limits.MAP_CPU_PER_GIB * launch.LARGEST_IMAGE, limits.WORKER_MEMORY)
"""The most that any work on an image may be allowed."""


class Pool:
    """`size` sandboxes that stand ready. A context manager, also an asynchronous one, that closes.

    `most` threads can have sessions at a time, four times `size` by default; others wait in order, each as long as
    its settings' timeout says. `sandbox` is auto, kvm or process, in place of what `settings` say; auto makes a
    snapshot of this process's own where none is prepared and KVM works. Raises UsageError, SandboxError.

    In a process that was forked off, the same object is another pool, which fills when it is first used.
    """

    def __init__(
        self, size: int = 4, *, most: int | None = None, settings: Settings = DEFAULTS, sandbox: str | None = None
    ) -> None:
        most = BUSY * size if most is None else most
        if not 1 <= size <= LARGEST or most < 1:
            raise UsageError(f"a pool holds from 1 to {LARGEST} sandboxes, and lends at least one")
        self.size = size
        self.most = most
        self._settings = settings._replace(sandbox=sandbox or settings.sandbox, pool=None)
        self.kind, self._snapshot = _platform(self._settings.sandbox)
        self._preload = guests.lean() if self.kind == "process" else []
        self._stocks: dict[int, Stock] = {}
        self._executors: dict[int, ThreadPoolExecutor] = {}
        self._local = threading.local()
        self._closed = False
        self._stock()

    @property
    def settings(self) -> Settings:
        """Settings for operations that are to use this pool."""
        return self._settings._replace(pool=self)

    def serves(self, settings: Settings) -> bool:
        """Whether a session of an operation with these settings can come from here."""
        return settings.sandbox == self._settings.sandbox and settings.memory is None

    def session(
        self, argument: bytes, descriptors: Sequence[int], bounds: instar_sandbox.Limits
    ) -> instar_sandbox.Session:
        """A session of launch.PROGRAM; waits for one at most bounds.wall seconds. Raises JailError."""
        return self._stock().lend(argument, descriptors, bounds, getattr(self._local, "call", None))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sandboxes that stand ready, sandboxes in use, callers that wait."""
        return self._stock().counts

    def close(self, grace: float = GRACE) -> None:
        """No process, descriptor or thread of the pool is left.

        Operations under way have `grace` seconds to end, then their sandboxes are killed; callers that wait fail.
        """
        self._closed = True
        process = os.getpid()
        stock = self._stocks.get(process)
        if stock is not None:
            stock.close(grace)
        executor = self._executors.pop(process, None)
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
        if self._snapshot is not None:
            self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self, grace: float = GRACE) -> None:
        """The same as close(), while the event loop goes on."""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, "instar pool close") as closing:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(closing, self.close, grace))

    async def run(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> T:
        """What the function returns, called in a thread of the pool's own; at most `most` such calls run at once.

        It uses the pool only if it is given Pool.settings. If this is cancelled, the sandboxes that the call has from
        the pool are killed, and when CancelledError comes out of here the call has ended.
        """
        import asyncio

        call = Call()
        future = self._executor().submit(self._called, call, function, arguments, keywords)
        try:
            found: T = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stock = self._stocks.get(os.getpid())
            if stock is not None:
                stock.stop(call)
            await _ended(future)
            raise
        return found

    def _called(
        self, call: Call, function: Callable[..., T], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> T:
        self._local.call = call
        try:
            return function(*arguments, **keywords)
        finally:
            self._local.call = None

    def _stock(self) -> Stock:
        """The stock of this process. Raises SandboxError after close()."""
        if self._closed:
            raise SandboxError("the pool is closed")
        process = os.getpid()
        stock = self._stocks.get(process)
        if stock is not None:
            return stock
        servant = ForkServer()
        made = Stock(_maker(self.kind, self._snapshot, self._preload, servant), self.size, self.most, servant)
        stock = self._stocks.setdefault(process, made)  # of two threads that both made one, one has its way
        if stock is made:
            weakref.finalize(self, made.leave).atexit = False  # the stock sees to that itself
        else:
            made.close()
        return stock

    def _executor(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        self._stock()
        executor = self._executors.get(os.getpid())
        if executor is None:
            executor = self._executors.setdefault(os.getpid(), ThreadPoolExecutor(self.most, "instar pool call"))
        return executor


def _maker(kind: str, snapshot: Snapshot | None, preload: Sequence[str], servant: ForkServer) -> Callable[[], Warm]:
    """What makes one worker. It knows nothing of the pool, so that a forgotten one can go."""

    def make() -> Warm:
        return warm(kind, launch.PROGRAM, BOUNDS, snapshot=snapshot, preload=preload, servant=servant)

    return make


def _platform(sandbox: str) -> tuple[str, Snapshot | None]:
    """The kind of sandbox, and for guests a snapshot of the pool's own. Raises SandboxError, UsageError."""
    if sandbox == "process":
        return "process", None
    if sandbox not in ("auto", "kvm"):
        raise UsageError(f"a pool has sandboxes of the kind kvm or process, not {sandbox!r}")
    snapshot = None
    try:
        snapshot = _snapshot()
        from instar_sandbox.kvm import start

        start.require(BOUNDS, snapshot, server=True)
    except (instar_sandbox.JailError, SandboxError) as error:
        if snapshot is not None:
            snapshot.close()
        if sandbox == "kvm":
            raise SandboxError(str(error)) from error
        return "process", None
    return "kvm", snapshot


def _snapshot() -> Snapshot:
    """What is prepared or held, else one made now, which takes about a second. Raises NoPlatform."""
    from instar_sandbox.kvm import prepare, store

    held = guests.snapshot(guests.LEAN, "auto")
    if held is not None:
        return store.Snapshot(held.name, os.dup(held.descriptor), held.description)
    return prepare.make(guests.recipe(guests.LEAN, modules=True))


async def _ended(future: Future[Any]) -> None:
    """The future is done, however often this is cancelled."""
    import asyncio

    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    while not done.is_set():
        try:
            await done.wait()
        except asyncio.CancelledError:
            continue
