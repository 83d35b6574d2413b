import gc
import os
import threading
import time
import weakref

import pytest
from instar_sandbox import JailError, Limits, NoPlatform
from instar_sandbox.jail import child, order
from instar_sandbox.kvm import trial
from instar_sandbox.remote import ForkServer
from instar_sandbox.stock import Call, Stock
from instar_sandbox.warm import Gone, warm

LIMITS = Limits(10, 1 << 30, 30)
DEEDS = "jailed_deeds"
TRIAL = trial.__name__


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def guest():
    """A snapshot that has the trial and the deeds."""
    from instar_sandbox.kvm import prepare
    from instar_sandbox.kvm.store import Recipe

    try:
        made = prepare.make(Recipe("warm", ["threading", DEEDS]), path=[*map(str, _path())])
    except NoPlatform as error:
        pytest.skip(f"no guests here: {error}")
    with made:
        yield made


def _path():
    import pathlib
    import sys

    return [pathlib.Path(__file__).parent / "programs", *sys.path]


@pytest.fixture
def servant():
    made = ForkServer()
    yield made
    made.stop()


@pytest.fixture(params=["process", pytest.param("kvm", marks=pytest.mark.kvm)])
def make(request, servant):
    """Makes a warm worker of either kind, by a fork server of the test's own."""
    snapshot = request.getfixturevalue("guest") if request.param == "kvm" else None

    def makes(module=DEEDS, **options):
        options = {"snapshot": snapshot, "preload": [TRIAL, DEEDS], "servant": servant, **options}
        return warm(request.param, module, **options)

    makes.kind = request.param
    return makes


def engaged(worker, deed, files=(), limits=LIMITS):
    worker.await_ready(20)
    return worker.engage(deed, files, limits)


def test_a_worker_that_stands_ready_computes_what_a_fresh_one_does(make):
    file = os.open(__file__, os.O_RDONLY)
    with engaged(make(TRIAL), b"argument", [file]) as session:
        for question in (b"one", b"two"):
            session.send(question)
            assert session.receive() == trial.answer(b"argument", file, question)
    os.close(file)


def test_an_engaged_worker_is_waited_for_until_it_stands_ready(make):
    with make().engage(b"echo", [], LIMITS) as session:
        session.send(b"hello")
        assert session.receive() == b"hello"


def test_a_worker_gets_many_files_in_their_order(make, tmp_path):
    opened = []
    try:
        for number in range(450):
            (tmp_path / str(number)).write_bytes(b"%d" % number)
            opened.append(os.open(tmp_path / str(number), os.O_RDONLY))
        with engaged(make(), b"read_files", opened) as session:
            assert eval(session.receive()) == [(5 + number, b"%d" % number) for number in range(450)]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_the_fork_server_never_has_the_files(make, servant, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    file = os.open(tmp_path / "secret", os.O_RDONLY)
    worker = make()
    worker.await_ready(20)
    with worker.engage(b"echo", [file], LIMITS) as session:
        os.close(file)
        session.send(b"hello")
        assert session.receive() == b"hello"
        folder = f"/proc/{servant.pid}/fd"
        links = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
        assert len(links) > 3
        assert not [link for link in links if "secret" in link]


def test_the_cpu_time_is_what_the_order_says(make):
    with engaged(make(), b"spin", limits=Limits(1, 1 << 30, None)) as session, pytest.raises(JailError) as caught:
        session.receive()
    assert str(caught.value) == "the worker used more than its 1 s of CPU time"


def test_the_deadline_is_counted_from_the_order(make):
    worker = make()
    worker.await_ready(20)
    time.sleep(0.3)
    began = time.monotonic()
    with worker.engage(b"wait", [], Limits(10, 1 << 30, 0.5)) as session, pytest.raises(JailError, match="deadline"):
        session.receive()
    assert 0.4 < time.monotonic() - began < 5


@pytest.mark.parametrize("deed", [b"make_socket", b"open_file /etc/passwd", b"pread_beyond_files", b"fork_process"])
def test_a_forbidden_call_ends_the_session_as_it_does_a_fresh_one(make, deed):
    with engaged(make(), deed) as session, pytest.raises(JailError) as caught:
        session.receive()
    assert caught.value.cause == "forbidden call"


def test_a_worker_has_its_channel_and_its_files_and_nothing_else(servant):
    off = {child.SECCOMP, child.LIMITS}
    file = os.open(__file__, os.O_RDONLY)
    worker = warm("process", DEEDS, preload=[DEEDS], servant=servant, unsafe_walls_off=off)
    with engaged(worker, b"open_descriptors", [file, file]) as session:
        assert eval(session.receive()) == [0, 1, 2, 3, 4, 5, 6]
    os.close(file)


def state(pid):
    with open(f"/proc/{pid}/status") as file:
        found = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"/proc/{pid}/limits") as file:
        limits = {line[:25].strip(): line[26:].split()[:2] for line in file}
    return found, limits


def test_all_walls_but_the_last_are_up_before_there_is_work_and_the_last_before_it_is_done(make, servant):
    worker = make()
    worker.await_ready(20)
    (pid,) = children(servant.pid)
    status, _ = state(pid)
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapBnd"], 16)) == ("1", 0, 0)
    assert status["Seccomp"] == "0"
    if os.geteuid() == 0:
        assert status["Uid"].split() == ["65534"] * 4
    with worker.engage(b"echo", [], Limits(7, 1 << 30, None)) as session:
        session.send(b"hello")
        assert session.receive() == b"hello"
        status, limits = state(pid)
        assert status["Seccomp"] == "2"
        assert limits["Max open files"] == limits["Max processes"] == limits["Max file size"] == ["0", "0"]
        assert limits["Max cpu time"] == ["7", "8"]
        assert limits["Max address space"] == [str(1 << 30)] * 2


def test_one_that_dies_with_its_server_between_the_order_and_the_work_is_gone(make, servant, monkeypatch):
    worker = make()
    give = order.give

    def give_and_kill(*words):
        give(*words)
        family = [servant.pid, *children(servant.pid)]
        os.kill(servant.pid, 9)
        until(lambda: not any(map(alive, family)))

    monkeypatch.setattr(order, "give", give_and_kill)
    with pytest.raises(Gone):
        engaged(worker, b"say late")


def test_prepare_runs_behind_the_walls_and_can_import_nothing_new(servant, tmp_path, monkeypatch):
    (tmp_path / "warm_program.py").write_text(
        "def prepare(argument, descriptors): __import__(argument.decode())\n"
        "def serve(state, channel): channel.send(b'imported')\n"
    )
    (tmp_path / "warm_extra.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = warm("process", "warm_program", servant=servant)
    with engaged(worker, b"warm_extra") as session, pytest.raises(JailError, match=r"warm_extra|Error"):
        session.receive()
    worker = warm("process", "warm_program", preload=["warm_extra"], servant=servant)
    with engaged(worker, b"warm_extra") as session:
        assert session.receive() == b"imported"


def test_a_module_that_leaves_while_it_is_imported_does_not_take_the_fork_server_with_it(
    servant, tmp_path, monkeypatch
):
    (tmp_path / "warm_leaver.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = warm("process", DEEDS, preload=["warm_leaver", DEEDS], servant=servant)
    with engaged(worker, b"say here") as session:
        assert eval(session.receive()) == "here"


def test_a_worker_that_died_is_noticed(make, servant):
    worker = make()
    worker.await_ready(20)
    assert worker.alive()
    (pid,) = children(servant.pid)
    os.kill(pid, 9)
    until(lambda: not worker.alive())
    ends = []
    with pytest.raises(Gone):
        worker.engage(b"echo", [], LIMITS, ends.append)
    assert ends == [None]


def test_a_worker_is_engaged_once(make):
    worker = make()
    with worker.engage(b"echo", [], LIMITS), pytest.raises(RuntimeError, match="once"):
        worker.engage(b"echo", [], LIMITS)


def test_workers_that_are_closed_or_engaged_leave_nothing(make, servant):
    make().close()
    before = descriptors()
    for turn in range(6):
        worker = make()
        if turn % 2:
            worker.await_ready(20)
        if turn % 3:
            worker.engage(b"echo", [], LIMITS).close()
        worker.close()
    assert descriptors() == before
    until(lambda: children(servant.pid) == [])


def test_what_keeps_a_worker_from_standing_ready_is_said(servant, guest):
    worker = warm("process", "no_such_program", servant=servant)
    with pytest.raises(JailError, match="no_such_program"):
        worker.await_ready(20)
    made = warm("process", DEEDS, servant=servant)
    with pytest.raises(JailError, match="in time"):
        made.await_ready(0)
    for platform, snapshot in (("kvm", None), ("inline", None)):
        with pytest.raises(NoPlatform):
            warm(platform, DEEDS, snapshot=snapshot, servant=servant)
    empty = os.memfd_create("empty")
    damaged = type(guest)("empty", empty, guest.description)
    worker = warm("kvm", DEEDS, snapshot=damaged, servant=servant)
    with pytest.raises(JailError, match="there is no guest: the snapshot is cut short"):
        worker.await_ready(20)
    damaged.close()


def test_an_order_with_too_many_files_for_one_packet_comes_whole():
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    files = [os.open(__file__, os.O_RDONLY) for _ in range(order.AT_ONCE * 2 + 1)]
    order.give(ours, 7, files)
    cpu, heard = order.wait(theirs.fileno())
    assert (cpu, len(heard)) == (7, len(files))
    assert all(os.fstat(number).st_ino == os.fstat(files[0]).st_ino for number in heard)
    for number in [*heard, *files]:
        os.close(number)
    ours.close()
    with pytest.raises(EOFError):
        order.wait(theirs.fileno())
    theirs.close()


# --- the stock


class Failing:
    """Makes workers until it is told to fail."""

    def __init__(self, servant):
        self.servant = servant
        self.made = []
        self.fails = None

    def __call__(self):
        if self.fails:
            raise self.fails
        self.made.append(warm("process", DEEDS, preload=[DEEDS], servant=self.servant))
        return self.made[-1]


@pytest.fixture
def maker():
    return Failing(ForkServer())


@pytest.fixture
def stock(maker):
    before = descriptors(), threading.active_count()
    made = Stock(maker, 2, 3, maker.servant)
    yield made
    made.close(0)
    gc.collect()
    assert (descriptors(), threading.active_count()) == before
    assert not alive(maker.servant.pid)


def full(stock):
    until(lambda: stock.counts[0] == 2)


def test_a_stock_lends_each_worker_once_and_replaces_it(stock, maker):
    full(stock)
    for number in range(20):
        with stock.lend(b"echo", [], LIMITS) as session:
            session.send(b"%d" % number)
            assert session.receive() == b"%d" % number
    full(stock)
    assert len(maker.made) == 22
    until(lambda: stock.counts == (2, 0, 0))
    until(lambda: len(children(maker.servant.pid)) == 2)


def test_many_threads_get_their_own_answers(stock):
    answers = {}

    def use(number):
        for turn in range(10):
            with stock.lend(b"say %d.%d" % (number, turn), [], LIMITS) as session:
                answers[number, turn] = eval(session.receive())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {(number, turn): f"{number}.{turn}" for number in range(8) for turn in range(10)}


def test_workers_that_are_killed_are_replaced(stock, maker):
    full(stock)
    for pid in children(maker.servant.pid):
        os.kill(pid, 9)
    until(lambda: len(maker.made) == 4)
    with stock.lend(b"say well", [], LIMITS) as session:
        assert eval(session.receive()) == "well"


def test_a_fork_server_that_is_killed_is_replaced(stock, maker):
    full(stock)
    first = maker.servant.pid
    with stock.lend(b"echo", [], LIMITS) as session:
        os.kill(first, 9)
        with pytest.raises(JailError):
            session.receive()
    with stock.lend(b"say again", [], LIMITS) as session:
        assert eval(session.receive()) == "again"
    assert maker.servant.pid != first
    assert not alive(first)


def test_a_fork_server_that_is_killed_between_the_order_and_the_work_is_replaced(stock, maker, monkeypatch):
    full(stock)
    first = maker.servant.pid
    give = order.give

    def give_and_kill(control, *rest):
        give(control, *rest)
        if maker.servant.pid == first:
            workers = children(first)
            os.kill(first, 9)
            until(lambda: not any(map(alive, [first, *workers])))

    monkeypatch.setattr(order, "give", give_and_kill)
    with stock.lend(b"say again", [], LIMITS) as session:
        assert eval(session.receive()) == "again"
    assert maker.servant.pid != first


def in_threads(count, function):
    threads = [threading.Thread(target=function, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_no_more_threads_than_allowed_have_sessions_and_those_that_wait_come_in_order(stock):
    gates = [threading.Event() for _ in range(6)]
    came = []

    def use(number):
        with stock.lend(b"echo", [], LIMITS):
            came.append(number)
            gates[number].wait(20)

    threads = []
    for number in range(6):
        threads += [threading.Thread(target=use, args=(number,))]
        threads[-1].start()
        until(lambda: len(came) == min(number + 1, 3) and stock.counts[2] == max(0, number - 2))  # noqa: B023
    time.sleep(0.2)
    assert came == [0, 1, 2]
    assert stock.counts[1:] == (3, 3)
    for number in range(6):
        gates[number].set()
        until(lambda: len(came) == min(6, number + 4))  # noqa: B023
    for thread in threads:
        thread.join()
    assert came == [0, 1, 2, 3, 4, 5]


def test_a_thread_that_has_sessions_never_waits_for_itself(stock):
    begun = threading.Barrier(3)

    def use(number):
        with stock.lend(b"echo", [], LIMITS):
            begun.wait(20)
            with stock.lend(b"echo", [], LIMITS) as second, stock.lend(b"echo", [], LIMITS) as third:
                for session in (second, third):
                    session.send(b"hello")
                    assert session.receive() == b"hello"
                    done.append(number)

    done = []
    for thread in in_threads(3, use):
        thread.join(20)
    assert len(done) == 6


def test_who_waits_too_long_is_told(stock):
    gate = threading.Event()

    def use(_):
        with stock.lend(b"echo", [], LIMITS):
            gate.wait(20)

    threads = in_threads(3, use)
    until(lambda: stock.counts[1] == 3)
    began = time.monotonic()
    with pytest.raises(JailError) as caught:
        stock.lend(b"echo", [], Limits(10, 1 << 30, 0.3))
    assert (str(caught.value), caught.value.cause) == ("no sandbox was free within 0.3 s", "deadline")
    assert time.monotonic() - began < 5
    assert stock.counts[2] == 0
    gate.set()
    for thread in threads:
        thread.join()


def test_waiting_counts_towards_the_deadline_of_the_session(stock):
    full(stock)
    with stock.lend(b"wait", [], Limits(10, 1 << 30, 0.4)) as session, pytest.raises(JailError, match="deadline"):
        session.receive()


def test_a_session_that_is_forgotten_or_fails_comes_back(stock):
    stock.lend(b"echo", [], LIMITS)
    until(lambda: gc.collect() is not None and stock.counts == (2, 0, 0))
    session = stock.lend(b"make_socket", [], LIMITS)
    with pytest.raises(JailError, match="forbidden"):
        session.receive()
    until(lambda: stock.counts == (2, 0, 0))
    session.close()
    assert stock.counts == (2, 0, 0)


def test_those_who_wait_hear_why_no_worker_can_be_made(stock, maker):
    full(stock)
    maker.fails = NoPlatform("no platform: broken")
    kept = [stock.lend(b"echo", [], LIMITS) for _ in range(2)]
    with pytest.raises(NoPlatform, match="broken"):
        stock.lend(b"echo", [], LIMITS)
    maker.fails = None
    with stock.lend(b"say mended", [], LIMITS) as session:
        assert eval(session.receive()) == "mended"
    for session in kept:
        session.close()


@pytest.mark.parametrize("closing", [False, True])
def test_those_who_wait_hear_that_the_stock_has_failed_and_whoever_comes_later_that_it_is_closed(closing, monkeypatch):
    asked, seen, errors = threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(str(args.exc_value)))

    def mistaken():
        assert asked.wait(20)
        raise ValueError("a mistake")

    def lend(_):
        with pytest.raises(JailError) as error:
            made.lend(b"echo", [], Limits(10, 1 << 30))
        errors.append(str(error.value))

    made = Stock(mistaken, 1, 1, ForkServer())
    (waiting,) = in_threads(1, lend)
    until(lambda: made.counts[2] == 1)
    if closing:
        made.leave(20)
    asked.set()
    waiting.join(10)
    lend(0)
    made.close(0)
    assert seen == ["a mistake"]
    assert errors == ["the pool has failed", "the pool is closed"]


def test_a_call_that_is_stopped_loses_its_workers_and_gets_no_more(stock):
    full(stock)
    call = Call()
    one = stock.lend(b"wait", [], LIMITS, call)
    threading.Timer(0.2, stock.stop, [call]).start()
    with pytest.raises(JailError, match="SIGKILL"):
        one.receive()
    with pytest.raises(JailError, match="cancelled"):
        stock.lend(b"echo", [], LIMITS, call)
    with stock.lend(b"say others", [], LIMITS) as session:
        assert eval(session.receive()) == "others"
    until(lambda: stock.counts[1] == 0 and threading.active_count() < 4)


def test_closing_waits_for_what_is_lent(maker):
    made = Stock(maker, 1, 3, maker.servant)
    session = made.lend(b"echo", [], LIMITS)
    threading.Timer(0.4, session.close).start()
    began = time.monotonic()
    made.close(20)
    assert 0.3 < time.monotonic() - began < 10
    with pytest.raises(JailError, match="the pool is closed"):
        made.lend(b"echo", [], LIMITS)
    made.close()


def test_closing_ends_what_is_lent_too_long_and_those_who_wait(maker):
    before = descriptors()
    made = Stock(maker, 1, 1, maker.servant)
    session = made.lend(b"wait", [], LIMITS)
    errors = []

    def wait(_):
        try:
            made.lend(b"echo", [], LIMITS)
        except JailError as error:
            errors.append(str(error))

    (waiting,) = in_threads(1, wait)
    until(lambda: made.counts[2] == 1)
    made.close(0.2)
    waiting.join(10)
    assert errors == ["the pool is closed"]
    with pytest.raises(JailError):
        session.receive()
    session.close()
    assert descriptors() == before
    assert not alive(maker.servant.pid)


def test_a_process_forked_off_leaves_the_stock_alone(stock, maker):
    full(stock)
    lent = stock.lend(b"echo", [], LIMITS)
    pid = os.fork()
    if pid == 0:
        stock.close(0)
        stock.leave()
        del lent
        gc.collect()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    lent.send(b"hello")
    assert lent.receive() == b"hello"
    lent.close()
    full(stock)


def test_a_stock_ends_although_a_process_forked_off_has_copies_of_its_sockets(maker):
    made = Stock(maker, 2, 3, maker.servant)
    full(made)
    hold, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        os.read(hold, 1)
        os._exit(0)
    began = time.monotonic()
    made.close(0)
    assert time.monotonic() - began < 5
    assert not alive(maker.servant.pid)
    os.close(release)
    os.close(hold)
    os.waitpid(pid, 0)


def test_a_closed_stock_is_kept_by_nobody(maker):
    made = Stock(maker, 1, 1, maker.servant)
    kept = weakref.ref(made)
    made.close(0)
    del made
    gc.collect()
    assert kept() is None
