import importlib.util
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
PROGRAMS = str(HERE / "programs")

_spec = importlib.util.spec_from_file_location("sandbox_masking", HERE / "masking.py")
masking = sys.modules["sandbox_masking"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(masking)
masking.mask()  # before any test imports what is masked


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAMS)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    yield
    sys.dont_write_bytecode = before
