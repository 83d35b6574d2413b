"""Reading while the caller writes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import TypeVar

    T = TypeVar("T")


ALONE = 8
"""Items made in the caller's thread before another one is started: small disks do without."""


def ahead(stream: Iterator[T], depth: int) -> Generator[list[T], None, None]:
    """The stream's items in batches: all that are ready, at least one and at most `depth`.

    The first items are made in the caller's thread, one to a batch; then a thread takes over and keeps up to `depth`
    items ready. With a depth of 0 none ever does. An error of the stream is raised where it happened; closing this
    closes the stream.
    """
    try:
        for made, item in enumerate(stream, 1):
            yield [item]
            if depth and made == ALONE:
                yield from _threaded(stream, depth)
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


def _threaded(stream: Iterator[T], depth: int) -> Iterator[list[T]]:
    import threading

    ready: list[T] = []
    ended: list[BaseException | None] = []
    change = threading.Condition()
    stopped = False

    def work() -> None:
        failure: BaseException | None = None
        try:
            for item in stream:
                with change:
                    ready.append(item)
                    change.notify()
                    while len(ready) >= depth and not stopped:
                        change.wait()
                    if stopped:
                        break
        except BaseException as error:  # it is raised again in the caller's thread
            failure = error
        with change:
            ended.append(failure)
            change.notify()

    thread = threading.Thread(target=work, name="instar-read", daemon=True)
    thread.start()
    try:
        while True:
            with change:
                while not ready and not ended:
                    change.wait()
                items = ready[:]
                ready.clear()
                change.notify()
            if not items:
                if ended[0] is not None:
                    raise ended[0]
                return
            yield items
    finally:
        with change:
            stopped = True
            change.notify()
        thread.join()
