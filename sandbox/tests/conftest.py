import faulthandler
import functools
import importlib.util
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
PROGRAMS = str(HERE / "programs")

_spec = importlib.util.spec_from_file_location("sandbox_masking", HERE / "masking.py")
masking = sys.modules["sandbox_masking"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(masking)
masking.mask()  # before any test imports what is masked


def pytest_unconfigure():
    """Whatever keeps the process from ending after its last test is shown, and does not."""
    faulthandler.dump_traceback_later(120, exit=True)


@functools.cache
def lacking():
    """Why there can be no guest here, "" where there can."""
    from instar_sandbox import NoPlatform
    from instar_sandbox.kvm import machine

    try:
        os.close(machine.open_device())
    except NoPlatform as error:
        return str(error)
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.get_closest_marker("kvm") and lacking():
        pytest.skip(lacking())


@pytest.fixture
def needs_kvm():
    """For a test that is run where guests are left out too, and skipped only where there can be none."""
    if lacking():
        pytest.skip(f"no guests here: {lacking()}")


@pytest.fixture(scope="module")
def made(request):
    """A snapshot with the program of the folder `programs` that the module names as PREPARED."""
    from instar_sandbox.kvm import prepare, store

    path = [PROGRAMS, *[entry for entry in sys.path if entry != PROGRAMS]]
    with prepare.make(store.Recipe(request.module.PREPARED, [request.module.PREPARED]), path) as found:
        yield found


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAMS)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    yield
    sys.dont_write_bytecode = before
