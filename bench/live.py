"""What is measured of sandboxes themselves: how soon they answer, what they take, how quickly they read."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import instar_sandbox
from instar_sandbox.kvm import prepare, store

from bench import memory, reading
from instar_core import chain, guests, launch
from instar_core.settings import Settings

PLACES = ("process", "kvm")
FORMAT = "raw"
SIZE = 1 << 30
CROWD = 40
JOBS = 20
PIECES = (4 << 10, 64 << 10, 1 << 20)


class Row(NamedTuple):
    """Figures of both kinds of sandbox, taken in turns: seconds, bytes, or bytes per second (rate).

    `load` is the one-minute load average before and after.
    """

    name: str
    unit: str
    process: list[float]
    kvm: list[float]
    aim: str
    load: tuple[float, float]


def rows(folder: str, count: int) -> Iterator[Row]:
    """All rows. Raises SandboxError where there can be no guest, ValueError where an answer is wrong."""
    for name in guests.RECIPES:
        yield made(name, max(1, count // 8))
    image = os.path.join(folder, "image.raw")
    with open(image, "wb") as file:
        file.write(os.urandom(1 << 20) * 256)
        file.truncate(SIZE)
    yield both("first answer, forked here", count, "", lambda place: first(image, place))
    with crowd():
        first(image, "kvm")  # the server is there
        yield both("first answer, fork server", count, "below 20 ms", lambda place: first(image, place))
        yield both("private memory", 3, "below 10 MiB", lambda place: private(image, place), "bytes")
    yield both("next job", max(1, count // 5), "below 1.5 ms", lambda place: following(image, place))
    yield both(f"{CROWD} at once, until all answered", max(1, count // 8), "", lambda place: together(image, place))
    recipe = store.Recipe("bench", [reading.__name__])
    with prepare.make(recipe) as snapshot:
        for size in PIECES:
            title = f"reads of {size >> 10} KiB"

            def rate(place: str, size: int = size) -> float:
                return throughput(image, place, size, snapshot)

            yield both(title, max(1, count // 5), "", rate, "rate")


def both(name: str, count: int, aim: str, measure: Callable[[str], float], unit: str = "seconds") -> Row:
    """`count` figures of each kind of sandbox, in turns."""
    before = os.getloadavg()[0]
    found: dict[str, list[float]] = {place: [] for place in PLACES}
    for _ in range(count):
        for place in PLACES:
            found[place].append(measure(place))
    return Row(name, unit, found["process"], found["kvm"], aim, (before, os.getloadavg()[0]))


def made(name: str, count: int) -> Row:
    """How long it takes to make and try a snapshot; this process holds the last one."""
    before = os.getloadavg()[0]
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        guests.hold([name])
        found.append(time.perf_counter() - begin)
    return Row(f"snapshot {name}, made and tried", "seconds", [], found, "", (before, os.getloadavg()[0]))


@contextmanager
def crowd() -> Iterator[None]:
    """This process has a second thread, so that its workers are forked by the fork server."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def open_image(image: str, place: str) -> chain.Member:
    """The image, parsed by a worker of its own, which waits for more."""
    member = chain.open_member(image, Settings(sandbox=place), "info", format=FORMAT)
    if member.info.virtual_size != SIZE:
        raise ValueError(f"a worker of the sandbox {place} says {member.info.virtual_size}")
    return member


def first(image: str, place: str) -> float:
    """Seconds until a new worker has told what it knows of the image."""
    begin = time.perf_counter()
    with open_image(image, place):
        return time.perf_counter() - begin


def following(image: str, place: str) -> float:
    """Seconds until a worker that has answered before answers again."""
    with open_image(image, place) as member:
        begin = time.perf_counter()
        for _ in range(JOBS):
            member.session.info(FORMAT)
        return (time.perf_counter() - begin) / JOBS


def private(image: str, place: str) -> float:
    """Bytes of a worker that has answered which nobody else has."""
    others = set(memory.tree(os.getpid()))
    with open_image(image, place):
        return float(sum(memory.own(pid) for pid in memory.tree(os.getpid()) if pid not in others))


def together(image: str, place: str) -> float:
    """Seconds until every one of many workers that live at once has answered."""
    settings = Settings(sandbox=place)
    begin = time.perf_counter()
    with ExitStack() as stack:
        begun = [launch.begin(image, "info", settings, FORMAT) for _ in range(CROWD)]
        for each in begun:
            member = chain.open_member(image, settings, "info", format=FORMAT, begun=each)
            stack.enter_context(member)
            if member.info.virtual_size != SIZE:
                raise ValueError(f"a worker of the sandbox {place} says {member.info.virtual_size}")
        return time.perf_counter() - begin


def throughput(image: str, place: str, size: int, snapshot: store.Snapshot) -> float:
    """Bytes per second that a worker reads in pieces of this size."""
    count = max(64, min(2048, (128 << 20) // size))
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        program = instar_sandbox.Program(reading.__name__, b"")
        with instar_sandbox.start(place, program, [file], instar_sandbox.Limits(), snapshot=snapshot) as session:
            question = b"%d %d" % (size, count)
            for _ in range(2):  # the first time its memory is new
                begin = time.perf_counter()
                session.send(question)
                said = int(session.receive())
                seconds = time.perf_counter() - begin
        if said != size * count:
            raise ValueError(f"a worker of the sandbox {place} read {said} of {size * count} bytes")
        return said / seconds
    finally:
        os.close(file)
