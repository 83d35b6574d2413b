"""A stock of workers that stand ready, kept full by one thread: each is lent once, then destroyed and replaced."""

from __future__ import annotations

import atexit
import functools
import os
import select
import socket
import threading
import weakref
from collections import deque
from time import monotonic

from instar_sandbox.errors import Cause, JailError, NoPlatform
from instar_sandbox.program import Limits
from instar_sandbox.warm import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_sandbox.remote import ForkServer, ServedChild
    from instar_sandbox.session import PipeSession
    from instar_sandbox.warm import Warm

PATIENCE = 60.0
"""Seconds in which a worker must come to stand ready."""
ATTEMPTS = 3
"""Workers in a row that may fail to come to life before those who wait are told."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between further attempts."""
FOUND_DEAD = 16
"""Workers that may be found dead for one caller before it is told."""


class Call:
    """Some work that can be stopped: its workers, and whether it may have more."""

    __slots__ = ("stopped", "workers")

    def __init__(self) -> None:
        self.stopped = False
        self.workers: list[ServedChild] = []


class Waiter:
    """A caller in the queue. `given` is released when there is a worker for it, or a failure."""

    __slots__ = ("call", "failure", "given", "thread", "warm")

    def __init__(self, thread: int, call: Call | None) -> None:
        self.thread = thread
        self.call = call
        self.warm: Warm | None = None
        self.failure: JailError | None = None
        self.given = threading.Lock()
        self.given.acquire()


class Stock:
    """`size` workers that stand ready, and those that are lent. Any thread of the process that made it may use it.

    At most `most` threads have workers at a time; one that has some gets more without regard to that, since it might
    else wait for itself. Everyone else waits, and is served in order.
    """

    def __init__(self, make: Callable[[], Warm], size: int, most: int, servant: ForkServer) -> None:
        """`make` is called by a thread of the stock's own, and gives a worker forked by the servant.

        The servant is stopped in the end.
        """
        self._make = make
        self._size = size
        self._most = most
        self._servant = servant
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._ready: deque[Warm] = deque()
        self._waiting: list[Waiter] = []
        self._held: dict[int, int] = {}
        self._ended: deque[tuple[int, ServedChild | None]] = deque()
        self._closing: float | None = None
        self._stopped = False
        self._listen, self._speak = socket.socketpair()
        self._listen.setblocking(False)
        self._speak.setblocking(False)
        self._thread = threading.Thread(target=Keeper(self).run, name="instar pool", daemon=True)
        self._thread.start()
        self._at_exit = functools.partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def lend(
        self, argument: bytes, descriptors: Sequence[int], limits: Limits, call: Call | None = None
    ) -> PipeSession:
        """A session of the caller's own with a worker that nobody has used.

        Waits at most limits.wall seconds, which are then subtracted from what the session has. Raises JailError.
        """
        until = None if limits.wall is None else monotonic() + limits.wall
        thread = threading.get_ident()

        def ended(worker: ServedChild | None) -> None:
            self._give_back(thread, worker)

        for _ in range(FOUND_DEAD):
            warm = self._take(thread, call, until, limits.wall)
            wall = None if until is None else max(0.001, until - monotonic())
            try:
                return warm.engage(argument, descriptors, Limits(limits.cpu, limits.memory, wall), ended)
            except Gone:
                continue
        raise Gone

    def stop(self, call: Call) -> None:
        """The call's workers are killed, and it gets no more: it will fail soon."""
        with self._lock:
            call.stopped = True
            for waiter in [waiter for waiter in self._waiting if waiter.call is call]:
                self._refuse(waiter, _stopped())
            for worker in call.workers:
                worker.kill()

    def close(self, grace: float = 10.0) -> None:
        """No process, descriptor or thread of the stock is left. Sessions that are lent have `grace` seconds to end.

        Those that wait fail. In another process than its own this does nothing.
        """
        if self._owner != os.getpid():
            return
        self.leave(grace)
        if threading.current_thread() is not self._thread:
            self._thread.join()
            atexit.unregister(self._at_exit)

    def leave(self, grace: float = 0.0) -> None:
        """The same, but soon; for whoever must not wait, as a finalizer."""
        if self._owner != os.getpid():
            return
        until = monotonic() + grace
        if self._closing is None or until < self._closing:
            self._closing = until
        self._wake()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Workers that stand ready, workers that are lent, callers that wait."""
        with self._lock:
            return len(self._ready), sum(self._held.values()), len(self._waiting)

    def _take(self, thread: int, call: Call | None, until: float | None, wall: float | None) -> Warm:
        waiter = Waiter(thread, call)
        with self._lock:
            if self._closing is not None:
                raise _closed()
            if call is not None and call.stopped:
                raise _stopped()
            self._waiting.append(waiter)
            self._serve()
        self._wake()
        try:
            waiter.given.acquire(timeout=-1 if until is None else max(0.0, until - monotonic()))
        except BaseException:
            self._withdraw(waiter)
            raise
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                raise JailError(f"no sandbox was free within {wall:g} s", Cause.DEADLINE)
        if waiter.warm is None:
            raise waiter.failure or _closed()
        return waiter.warm

    def _withdraw(self, waiter: Waiter) -> None:
        """The caller was interrupted: what it may have been given goes back unused."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            warm, waiter.warm = waiter.warm, None
        if warm is not None:
            warm.close()
            self._give_back(waiter.thread, None)

    def _serve(self) -> None:
        """Who waits has what there is, in order. Under the lock."""
        while self._ready:
            for waiter in self._waiting:
                if waiter.thread in self._held or len(self._held) < self._most:
                    break
            else:
                return
            self._waiting.remove(waiter)
            self._held[waiter.thread] = self._held.get(waiter.thread, 0) + 1
            waiter.warm = self._ready.popleft()
            if waiter.call is not None:
                waiter.call.workers.append(waiter.warm.worker)
            waiter.given.release()

    def _refuse(self, waiter: Waiter, why: JailError) -> None:
        """Under the lock."""
        self._waiting.remove(waiter)
        waiter.failure = why
        waiter.given.release()

    def _give_back(self, thread: int, worker: ServedChild | None) -> None:
        """A lent worker is at its end. Takes no lock: the garbage collector calls this too, in any thread."""
        self._ended.append((thread, worker))
        self._wake()
        if self._stopped:
            self.reap_late()

    def reap_late(self) -> None:
        """What was given back when the keeper had gone is reaped."""
        while True:
            try:
                _, worker = self._ended.popleft()
            except IndexError:
                return
            if worker is not None:
                worker.end()

    def _wake(self) -> None:
        try:
            self._speak.send(b"\0")
        except OSError:  # it is awake, or gone
            return


class Keeper:
    """The thread that keeps a stock full, reaps what was lent, and empties it in the end."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._starting: dict[Warm, float] = {}
        self._dying: dict[int, tuple[int, ServedChild]] = {}
        self._failures = 0
        self._resume = 0.0

    def run(self) -> None:
        """Until the stock is closed."""
        stock = self._stock
        try:
            while stock._closing is None:
                self._make()
                self._sleep()
            self._drain()
        finally:
            # After _drain() nobody waits. If an error came before, nobody will ever be served again.
            if stock._closing is None:
                stock._closing = monotonic()
            self._dismiss(JailError("the pool has failed", Cause.CUT))
            stock._servant.stop()
            stock._stopped = True
            stock.reap_late()
            stock._speak.close()
            stock._listen.close()

    def _make(self) -> None:
        """As many workers as are missing are on their way."""
        stock = self._stock
        while monotonic() >= self._resume:
            with stock._lock:
                if len(stock._ready) + len(self._starting) >= stock._size:
                    return
            try:
                self._starting[stock._make()] = monotonic() + PATIENCE
            except JailError as error:
                self._failed(error)
            except OSError as error:
                self._failed(NoPlatform(f"no platform: no process can be made: {error.strerror}"))

    def _failed(self, why: JailError) -> None:
        """A worker did not come to life."""
        self._failures += 1
        if self._failures < ATTEMPTS:
            return
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures - ATTEMPTS, 16))
        self._resume = monotonic() + pause
        self._dismiss(why)

    def _dismiss(self, why: JailError) -> None:
        """All who wait are told."""
        stock = self._stock
        with stock._lock:
            for waiter in [*stock._waiting]:
                stock._refuse(waiter, why)

    def _sleep(self) -> None:
        """Something has happened, and was dealt with."""
        stock = self._stock
        poll = select.poll()
        poll.register(stock._listen, select.POLLIN)
        for starting in self._starting:
            poll.register(starting, select.POLLIN)
        for status in self._dying:
            poll.register(status, select.POLLIN)
        with stock._lock:
            for warm in stock._ready:
                poll.register(warm, select.POLLIN)
        ends = [*self._starting.values()]
        if self._resume > monotonic():
            ends.append(self._resume)
        if stock._closing is not None:
            ends.append(stock._closing)
        left = None if not ends else max(0.0, min(ends) - monotonic()) * 1000 + 1
        happened = {descriptor for descriptor, _ in poll.poll(left)}
        if stock._listen.fileno() in happened:
            self._listen()
        for status in happened & self._dying.keys():
            thread, worker = self._dying.pop(status)
            worker.end()
            self._release(thread)
        for starting in [warm for warm in self._starting if warm.fileno() in happened]:
            self._arrived(starting)
        for late in [warm for warm, end in self._starting.items() if monotonic() > end]:
            self._arrived(late)
        self._weed(happened)

    def _listen(self) -> None:
        """What was given back is on its way to being reaped."""
        stock = self._stock
        try:
            while stock._listen.recv(4096):
                continue
        except BlockingIOError:
            pass
        while stock._ended:
            thread, worker = stock._ended.popleft()
            if worker is None:
                self._release(thread)
            else:
                self._dying[worker.fileno()] = thread, worker

    def _release(self, thread: int) -> None:
        """The thread has one worker less."""
        stock = self._stock
        with stock._lock:
            stock._held[thread] -= 1
            if not stock._held[thread]:
                del stock._held[thread]
            stock._serve()

    def _arrived(self, warm: Warm) -> None:
        """The worker stands ready, or is gone."""
        stock = self._stock
        del self._starting[warm]
        try:
            warm.await_ready(0.0)
        except JailError as error:
            self._failed(error)
            return
        self._failures = 0
        with stock._lock:
            stock._ready.append(warm)
            stock._serve()

    def _weed(self, happened: set[int]) -> None:
        """Those that stood ready and died are no longer there."""
        stock = self._stock
        dead = []
        with stock._lock:
            for warm in [warm for warm in stock._ready if warm.fileno() in happened and not warm.alive()]:
                stock._ready.remove(warm)
                dead.append(warm)
        for warm in dead:
            warm.close()

    def _drain(self) -> None:
        """Nobody waits, nothing stands ready, and what is lent has ended or had its time."""
        stock = self._stock
        self._dismiss(_closed())
        with stock._lock:
            ready = [*stock._ready]
            stock._ready.clear()
        for warm in [*ready, *self._starting]:
            warm.close()
        self._starting.clear()
        while stock._held and stock._closing is not None and monotonic() < stock._closing:
            self._sleep()
        self._listen()
        for _, worker in self._dying.values():
            worker.end()
        self._dying.clear()


def _close(stock: weakref.ref[Stock]) -> None:
    """The program ends: nothing of the stock may outlive it."""
    still = stock()
    if still is not None:
        still.close(0.0)


def _closed() -> JailError:
    return JailError("the pool is closed", Cause.CUT)


def _stopped() -> JailError:
    return JailError("the call was cancelled", Cause.CUT)
