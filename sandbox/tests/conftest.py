import pathlib
import sys

import pytest

PROGRAMS = str(pathlib.Path(__file__).parent / "programs")


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAMS)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    yield
    sys.dont_write_bytecode = before
