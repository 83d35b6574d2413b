"""The pool: right answers from sandboxes that stood ready, one image each, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import instar_sandbox
import pytest
from instar_sandbox import remote

import instar_core
from instar_core import Pool, launch, registry
from instar_core.errors import InstarError, SandboxError, UsageError
from instar_core.settings import DEFAULTS, Settings

MIB = 1 << 20
Images = dict[str, tuple[str, int]]

KINDS = ["process", pytest.param("kvm", marks=pytest.mark.kvm)]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found += Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        except OSError:  # that thread has ended
            continue
    return [int(child) for child in found]


def family() -> set[int]:
    """All processes below this one."""
    found: set[int] = set()
    new = set(children(os.getpid()))
    while new:
        found |= new
        new = {below for pid in new if os.path.exists(f"/proc/{pid}") for below in children(pid)} - found
    return found


def serve() -> None:
    """The fork server of this process, which is not the pool's, runs: a crowded process may need it any time."""
    program = instar_sandbox.Program("instar_sandbox.kvm.trial")
    instar_sandbox.start("process", program, [0], instar_sandbox.Limits(), server=True).close()


def facts() -> tuple[list[str], int, set[int]]:
    """Descriptors, threads and processes."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd")), threading.active_count(), family()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Twelve images of different sizes, of every format that can be made: path → format and size."""
    formats = [
        entry.name
        for entry, spec, _ in registry.formats()
        if spec and "create" in spec.capabilities and entry.name not in ("luks", "vpc")  # a passphrase; other sizes
    ]
    folder = tmp_path_factory.mktemp("images")
    found = {}
    for number in range(12):
        format = formats[number % len(formats)]
        path = str(folder / f"{number}.{format}")
        instar_core.create(path, format=format, size=(number + 1) * MIB)
        if format == "raw":  # a raw image needs evidence
            with open(path, "r+b") as file:
                file.seek(510)
                file.write(b"\x55\xaa")
        found[path] = format, (number + 1) * MIB
    return found


@pytest.fixture(params=KINDS)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    serve()
    if request.param == "kvm":
        from instar_core import guests

        guests.snapshot(guests.LEAN, "auto")  # if it is found it stays open for this process, pool or not
    before = facts()
    try:
        made = Pool(3, most=6, sandbox=request.param)
    except SandboxError as error:
        pytest.skip(f"no guests here: {error}")
    with made:
        assert made.kind == request.param
        yield made
    assert facts() == before


def right(path: str, images: Images, pool: Pool) -> bool:
    (found,) = instar_core.info(path, settings=pool.settings)
    return (found.filename, found.image.format, found.image.virtual_size) == (path, *images[path])


def many(pool: Pool) -> int:
    """How many answers a test asks for: guests take longer."""
    return 100 if pool.kind == "kvm" else 500


def test_eight_threads_get_the_right_answer_each_time(pool: Pool, images: Images) -> None:
    paths = list(images)
    answers: list[bool] = []

    def ask(number: int) -> None:
        for turn in range(many(pool) // 8):
            answers.append(right(paths[(number * 5 + turn) % len(paths)], images, pool))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == many(pool) // 8 * 8
    assert all(answers)
    assert pool.counts[2] == 0


def test_an_event_loop_gets_the_right_answer_each_time(pool: Pool, images: Images) -> None:
    paths = list(images)

    async def main() -> list[bool]:
        calls = [pool.run(right, paths[number % len(paths)], images, pool) for number in range(many(pool))]
        return await asyncio.gather(*calls)

    answers = asyncio.run(main())
    assert answers == [True] * many(pool)


def test_every_session_is_another_process(pool: Pool, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    lend = pool.session

    def session(*words: object) -> object:
        made = lend(*words)  # type: ignore[arg-type]
        used.append(made._child._number)  # type: ignore[attr-defined]
        return made

    monkeypatch.setattr(pool, "session", session)
    for path in images:
        assert right(path, images, pool)
    assert len(used) >= len(images)
    assert len(set(used)) == len(used)


def test_every_operation_gives_what_it_gives_without_a_pool(pool: Pool, tmp_path: Path) -> None:
    for format in ("qcow2", "vmdk"):
        if format not in registry.entries():
            pytest.skip(f"instar-{format} is not installed")
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(range(256)) * 4096 + bytes(MIB))
    base, top = str(tmp_path / "base.qcow2"), str(tmp_path / "top.qcow2")
    instar_core.convert([str(raw)], base, source_format="raw", target_format="qcow2", settings=pool.settings)
    instar_core.create(top, format="qcow2", backing=base, backing_format="qcow2", settings=pool.settings)
    alone = Settings(sandbox=pool.kind)

    def both(function: Callable[..., object], *words: object, **options: object) -> object:
        found = function(*words, **options, settings=pool.settings)
        assert found == function(*words, **options, settings=Settings(sandbox="process")), alone
        return found

    assert len(both(instar_core.info, top, chain=True)) == 2  # type: ignore[arg-type]
    both(lambda path, settings: list(instar_core.map(path, settings=settings)), top)
    both(instar_core.check, top)
    both(instar_core.measure, top, target_format="qcow2")
    both(instar_core.compare, str(raw), top, first_format="raw")
    with instar_core.open(top, settings=pool.settings) as disk:
        assert disk.read(256 * 4096) == bytes(range(256)) * 4096
    target = str(tmp_path / "copy.vmdk")
    instar_core.convert([top], target, target_format="vmdk", settings=pool.settings)
    assert instar_core.compare(target, top, settings=pool.settings).identical
    with pytest.raises(InstarError) as caught:
        instar_core.info(str(tmp_path / "absent"), settings=pool.settings)
    assert "No such file" in str(caught.value)


def test_sandboxes_that_are_killed_are_replaced(pool: Pool, images: Images) -> None:
    paths = list(images)
    for turn in range(4):
        until(lambda: pool.counts[0] == 3)
        (server,) = set(children(os.getpid())) - {remote.SERVER.pid}
        victims = [server] if turn % 2 else children(server)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):  # one that served before may just have ended
                os.kill(pid, 9)
        until(lambda: not [pid for pid in victims if running(str(pid))])  # noqa: B023
        for path in paths[:3]:
            assert right(path, images, pool)


def test_what_no_pool_can_serve_starts_as_always(pool: Pool, images: Images, tmp_path: Path) -> None:
    path = next(iter(images))
    assert not pool.serves(pool.settings._replace(sandbox="inline"))
    before = pool.counts
    instar_core.info(path, settings=pool.settings._replace(sandbox="inline"))
    instar_core.create(str(tmp_path / "new"), format="raw", size=MIB, settings=pool.settings)
    until(lambda: pool.counts[0] == 3)
    assert pool.counts[1:] == before[1:] == (0, 0)
    assert DEFAULTS.pool is None


def test_waiting_is_bounded_by_the_timeout(pool: Pool, images: Images) -> None:
    path = next(iter(images))
    gate = threading.Event()

    def hold() -> None:
        with instar_core.open(path, settings=pool.settings, format=images[path][0]):
            gate.wait(30)

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: pool.counts[1] == 6)
    with pytest.raises(SandboxError, match=r"no sandbox was free within 0\.3 s"):
        instar_core.info(path, settings=pool.settings._replace(timeout=0.3))
    gate.set()
    for thread in threads:
        thread.join()
    assert right(path, images, pool)


def test_a_call_that_is_cancelled_leaves_nothing(pool: Pool, images: Images) -> None:
    path = next(iter(images))
    started, ended = threading.Event(), threading.Event()

    def linger() -> None:
        try:
            device = launch.devices.open_named(path)
            try:
                with launch.start([device], "info", pool.settings) as session:
                    started.set()
                    session.receive()  # which never comes
            finally:
                device.close()
        finally:
            ended.set()

    async def main() -> None:
        task = asyncio.create_task(pool.run(linger))
        while not started.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        waiting = [asyncio.create_task(pool.run(right, path, images, pool)) for _ in range(30)]
        await asyncio.sleep(0.02)
        for one in waiting[::2]:
            one.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(answer is True for answer in found[1::2])
        assert all(answer is True or isinstance(answer, asyncio.CancelledError) for answer in found)

    asyncio.run(main())
    until(lambda: pool.counts == (3, 0, 0))


def test_an_event_loop_goes_on_while_the_pool_closes() -> None:
    serve()
    before = facts()

    async def main() -> None:
        async with Pool(1, sandbox="process") as pool:
            assert await pool.run(len, "abc") == 3
            with pytest.raises(ZeroDivisionError):
                await pool.run(divmod, 1, 0)
        with pytest.raises(SandboxError, match="the pool is closed"):
            await pool.run(len, "abc")

    asyncio.run(main())
    assert facts() == before


def test_a_closed_pool_refuses(images: Images) -> None:
    pool = Pool(1, sandbox="process")
    pool.close()
    pool.close()
    with pytest.raises(SandboxError, match="the pool is closed"):
        instar_core.info(next(iter(images)), settings=pool.settings)


@pytest.mark.parametrize("words", [{"size": 0}, {"size": 10000}, {"most": 0}, {"sandbox": "inline"}, {"sandbox": "x"}])
def test_a_pool_that_makes_no_sense_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Pool(**words)  # type: ignore[arg-type]


def test_auto_takes_a_kind_that_works(images: Images) -> None:
    with Pool(1) as pool:
        assert pool.kind in ("kvm", "process")
        for path in list(images)[:3]:
            assert right(path, images, pool)


def test_a_pool_that_is_forgotten_goes_away() -> None:
    serve()
    before = facts()
    pool: Pool | None = Pool(1, sandbox="process")
    assert pool is not None
    until(lambda: pool is not None and pool.counts[0] == 1)
    pool = None
    until(lambda: facts() == before)


def test_a_process_forked_off_has_a_pool_of_its_own(pool: Pool, images: Images) -> None:
    until(lambda: pool.counts[0] == 3)
    path = next(iter(images))
    with instar_core.open(path, settings=pool.settings, format=images[path][0]) as disk:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if right(path, images, pool) and pool.counts[1] <= 1:
                    pool.close()
                    code = 0 if not children(os.getpid()) else 2
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert disk.info.image.virtual_size == images[path][1]
        list(disk.extents())
    until(lambda: pool.counts == (3, 0, 0))
    assert right(path, images, pool)


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise KeyError('x')", "os.kill(os.getpid(), 9)"])
def test_a_program_that_ends_leaves_no_process(ending: str, images: Images) -> None:
    path = next(iter(images))
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "import instar_core\n"
        "pool = instar_core.Pool(2, sandbox='process')\n"
        "instar_core.info(sys.argv[1], settings=pool.settings)\n"
        "disk = instar_core.open(sys.argv[1], settings=pool.settings)\n"
        "(server,) = [pid for task in os.listdir('/proc/self/task')"
        "             for pid in open(f'/proc/self/task/{task}/children').read().split()]\n"
        "below = open(f'/proc/{server}/task/{server}/children').read().split()\n"
        "print(server, *below, flush=True)\n" + ending
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, path, *sys.path], capture_output=True, text=True, check=False)
    assert time.monotonic() - began < 20
    assert done.returncode == {"": 0, "sys.exit(3)": 3, "raise KeyError('x')": 1}.get(ending, -9), done.stderr
    assert "Exception ignored" not in done.stderr
    pids = done.stdout.split()
    assert len(pids) >= 2
    until(lambda: not [pid for pid in pids if running(pid)])


def running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_start_path_knows_no_pool() -> None:
    code = "import sys; import instar_core.cli.info, instar_core.launch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert "instar_core.pool" not in done.stdout.split()
    assert "instar_sandbox.stock" not in done.stdout.split()
