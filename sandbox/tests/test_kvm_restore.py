"""A guest goes on from its snapshot in the same way however it is restored, and each as if it were the first."""

import pathlib
import subprocess
import sys

import pytest
from instar_sandbox import Limits, NoPlatform, Program, start
from instar_sandbox.kvm import layout, snapshot

PROGRAMS = str(pathlib.Path(__file__).with_name("programs"))
pytestmark = pytest.mark.kvm

LIMITS = Limits(20, 1 << 30, 60)
QUESTIONS = (b"one", b"two" * 5000, b"", b"one", b"three" * 12000)
PREPARED = "remembering"
PROGRAM = Program(PREPARED, b"argument")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "file"
    path.write_bytes(bytes(range(255)) * 9000)
    with open(path, "rb") as found:
        yield found.fileno()


@pytest.fixture(scope="module")
def expected(file):
    """The answers of a program that is run here, without any sandbox."""
    code = (
        f"import sys; sys.path.insert(0, {PROGRAMS!r}); sys.dont_write_bytecode = True; import remembering\n"
        f"for question in {QUESTIONS!r}: print(remembering.answer(b'argument', (0,), question).decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True)
    return done.stdout.split()


def answers(made, file, limits=LIMITS):
    found = []
    with start("kvm", PROGRAM, [file], limits, snapshot=made) as session:
        for question in QUESTIONS:
            session.send(question)
            found.append(session.receive())
    return found


WAYS = {"copied": (True, []), "shared": (False, []), "shared but for hot pages": (False, None)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def restored(request, made):
    """The snapshot, restored in one way or another."""
    before = made.description.large, made.description.hot
    large, hot = request.param
    made.description.large = large
    if hot is not None:
        made.description.hot = hot
    yield made
    made.description.large, made.description.hot = before


def test_answers_are_those_of_a_process(restored, file, expected):
    assert len(set(expected)) == len(QUESTIONS)
    assert answers(restored, file) == expected


def test_each_guest_is_the_first_one(restored, file, expected):
    for _ in range(3):
        assert answers(restored, file) == expected
    with start("kvm", PROGRAM, [file], LIMITS, snapshot=restored, server=False) as one:
        one.send(QUESTIONS[0])
        assert one.receive() == expected[0]
        assert answers(restored, file) == expected
        one.send(QUESTIONS[1])
        assert one.receive() == expected[1]


def test_the_snapshot_is_as_it_was_after_all_that(made, file, expected):
    for large in (True, False):
        made.description.large = large
        assert answers(made, file) == expected
    snapshot.verify(made.descriptor, made.description)


@pytest.mark.parametrize("memory", [256, 400, 1 << 10, 1 << 12])
def test_the_size_of_a_guest_does_not_matter(restored, file, expected, memory):
    assert answers(restored, file, Limits(20, memory << 20, 60)) == expected


def test_a_guest_without_room_is_refused(restored, file):
    with pytest.raises(NoPlatform):
        answers(restored, file, Limits(20, restored.description.top + (40 << 20), 60))


def test_what_is_zero_is_not_kept(made):
    assert made.description.top - layout.MAPPINGS > 24 << 20, "the program has this much memory"
    assert made.description.size < 30 << 20
