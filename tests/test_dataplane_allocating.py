"""Large writes into new files get their place first, where that pays."""

from __future__ import annotations

import errno
import os

import pytest

from instar_core.dataplane import ioctls
from instar_core.dataplane.allocating import LEAST, Allocating

MIB = 1 << 20


@pytest.fixture
def new(tmp_path):
    descriptor = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the kernel, by a file whose file system gains by it."""
    made = []
    monkeypatch.setattr(ioctls, "has_extents", lambda _: True)
    monkeypatch.setattr(ioctls, "allocate", lambda *range: made.append(range) or True)
    return made


def test_a_file_of_ext4_has_its_place_before_it_is_written(new):
    if not ioctls.has_extents(new):
        pytest.skip("the temporary folder is not on ext4")
    Allocating(fresh=True).before(new, 0, MIB)
    facts = os.fstat(new)
    assert facts.st_blocks * 512 >= MIB
    assert os.pread(new, MIB, 0) == bytes(MIB)


def test_what_was_there_stays(new):
    os.pwrite(new, b"x" * MIB, 0)
    assert ioctls.allocate(new, 0, 2 * MIB) in (True, False)
    assert os.pread(new, MIB, 0) == b"x" * MIB


def test_small_writes_are_not_announced(new, asked):
    places = Allocating(fresh=True)
    places.before(new, 0, LEAST - 1)
    assert asked == []
    places.before(new, MIB, LEAST)
    assert asked == [(new, MIB, LEAST)]


def test_of_a_file_that_is_not_new_only_what_lies_behind_its_end_is_announced(new, asked):
    os.pwrite(new, b"x" * MIB, 0)
    places = Allocating(fresh=False)
    places.before(new, MIB - 512, MIB)
    places.before(new, MIB, MIB)
    assert asked == [(new, MIB, MIB)]


def test_a_file_system_that_gains_nothing_is_not_asked(new, asked, monkeypatch):
    monkeypatch.setattr(ioctls, "has_extents", lambda _: False)
    Allocating(fresh=True).before(new, 0, MIB)
    assert asked == []


def test_a_failure_is_left_to_the_write_that_follows_and_ends_the_asking(new, asked, monkeypatch):
    def full(*_):
        asked.append("full")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(ioctls, "allocate", full)
    places = Allocating(fresh=True)
    places.before(new, 0, MIB)
    places.before(new, MIB, MIB)
    assert asked == ["full"]


def test_direct_writes_are_left_alone(tmp_path, asked):
    try:
        descriptor = os.open(tmp_path / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError:
        pytest.skip("the temporary folder knows no O_DIRECT")
    try:
        Allocating(fresh=True).before(descriptor, 0, MIB)
    finally:
        os.close(descriptor)
    assert asked == []
