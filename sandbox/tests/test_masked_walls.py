"""The switch that takes walls away for tests does so, and what is left still confines."""

import os

import instar_sandbox
import pytest
from instar_sandbox import JailError, Limits, Program, start
from instar_sandbox.jail import child

MASK = frozenset(os.environ.get("INSTAR_TEST_MASK", "").split(",")) - {""}
LIMITS = Limits(10, 1 << 30, 30)
GONE = {"namespaces": {"namespaces", "empty root folder"}, "landlock": {"Landlock"}}

masked = pytest.mark.skipif(not MASK, reason="INSTAR_TEST_MASK names no wall")


@masked
@pytest.mark.parametrize("server", [False, True])
def test_a_masked_wall_is_not_there(server):
    off = child.WALLS - MASK
    program = Program("jailed_deeds", b"try_open /etc/passwd")
    with start("process", program, [], LIMITS, server=server, unsafe_walls_off=off) as session:
        assert isinstance(eval(session.receive()), int)


@masked
def test_the_report_says_which_walls_are_masked():
    standing = {wall.name: wall.works for wall in instar_sandbox.walls()}
    for wall in MASK:
        assert not any(standing[name] for name in GONE[wall])
    assert all(wall.works for wall in instar_sandbox.walls() if wall.mandatory)


@pytest.mark.parametrize("off", [(), ("namespaces",), ("landlock",), ("namespaces", "landlock")])
@pytest.mark.parametrize("deed", [b"open_file /etc/passwd", b"make_socket"])
def test_what_is_left_still_confines(deed, off):
    with (
        start("process", Program("jailed_deeds", deed), [], LIMITS, unsafe_walls_off=off) as session,
        pytest.raises(JailError, match="forbidden system call"),
    ):
        session.receive()
