"""The sandbox of a stream: one for each, nothing left of it, no verdict without it, and bounds on what it says."""

from __future__ import annotations

import gc
import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import instar_sandbox
import pytest

from instar_core import limits
from instar_core.compat.oslo.imageutils import format_inspector as inspectors
from instar_core.compat.oslo.imageutils import jail
from instar_core.errors import ContractViolation
from instar_core.settings import Settings
from instar_core.worker.stream.words import Verdict, Wanted


def _images() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stream_images", Path(__file__).with_name("stream_images.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


images = _images()


def test_the_host_imports_no_plugin_and_no_examiner(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(images.vmdk())
    program = f"""
import sys
from instar_core.compat.oslo.imageutils import format_inspector
found = format_inspector.detect_file_format({str(path)!r})
found.safety_check()
print(found, found.virtual_size)
known = ("instar_core.worker.stream.words", "instar_core.worker.stream")
print([name for name in sys.modules
       if name.startswith(("instar_core.worker.", "instar_core.raw")) and name not in known
       or name.startswith("instar_") and not name.startswith(("instar_core", "instar_sandbox"))])
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == (f"vmdk {images.SIZE}\n[]\n", "")


@pytest.fixture
def lame(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sandboxes whose program is not there."""
    monkeypatch.setattr("instar_core.guests.STREAM", "instar_core.worker.stream.missing")
    yield


@pytest.mark.usefixtures("lame")
def test_without_a_sandbox_the_stream_goes_on_and_there_is_no_verdict() -> None:
    data = images.qcow2()
    wrapper = inspectors.InspectWrapper(io.BytesIO(data), settings=Settings(sandbox="process"))
    assert b"".join(iter(lambda: wrapper.read(4096), b"")) == data
    wrapper.close()
    for attribute in ("format", "formats"):
        with pytest.raises(inspectors.ImageFormatError, match="cannot be inspected"):
            getattr(wrapper, attribute)


@pytest.mark.usefixtures("lame")
def test_without_a_sandbox_an_inspector_refuses() -> None:
    inspector = inspectors.VDIInspector()
    with pytest.raises(inspectors.ImageFormatError, match="cannot be inspected"):
        inspector.eat_chunk(images.vdi())
    assert not inspector.format_match
    with pytest.raises(inspectors.ImageFormatError):
        inspector.safety_check()


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        (True, 1, "", (), (), {}),
        (1, 0, "", (), (), {}, {}),
        (True, -1, "", (), (), {}, {}),
        (True, 1 << 64, "", (), (), {}, {}),
        (True, 0, "x" * 501, (), (), {}, {}),
        (True, 0, "a\nb", (), (), {}, {}),
        (True, 0, "", ((),), (), {}, {}),
        (True, 0, "", (("a", 0, limits.KEPT + 1, False),), (), {}, {}),
        (True, 0, "", (("a", -1, 1, False),), (), {}, {}),
        (True, 0, "", (("a", 0, 1, False),) * (limits.KEPT_PIECES + 1), (), {}, {}),
        (True, 0, "", (), (3,), {}, {}),
        (True, 0, "", (), (), {"a": 1}, {}),
        (True, 0, "", (), (), {}, {"a": ()}),
    ],
)
def test_a_verdict_of_the_wrong_shape_is_refused(value: Any) -> None:
    with pytest.raises(ContractViolation):
        jail.verdict(value)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every session that is started."""
    started: list[Any] = []
    start = instar_sandbox.start

    def recorded(*arguments: Any, **keywords: Any) -> Any:
        started.append(start(*arguments, **keywords))
        return started[-1]

    monkeypatch.setattr(instar_sandbox, "start", recorded)
    return started


def gone(session: Any) -> bool:
    try:
        session.send(b"?")
    except instar_sandbox.JailError:
        return True
    return False


def test_one_sandbox_serves_a_stream_and_ends_with_it(sessions: list[Any]) -> None:
    wrapper = inspectors.InspectWrapper(io.BytesIO(images.qcow2()))
    while wrapper.read(4096):
        pass
    wrapper.close()
    assert str(wrapper.format) == "qcow2"
    wrapper.formats[0].safety_check()  # type: ignore[index]
    assert [gone(session) for session in sessions] == [True]


def test_a_stream_that_is_forgotten_leaves_no_sandbox(sessions: list[Any]) -> None:
    wrapper = inspectors.InspectWrapper(io.BytesIO(images.qcow2()))
    wrapper.read(4096)
    del wrapper
    gc.collect()
    assert [gone(session) for session in sessions] == [True]


def test_an_inspector_that_knows_all_holds_no_sandbox(sessions: list[Any]) -> None:
    inspector = inspectors.QcowInspector()
    inspector.eat_chunk(images.qcow2())
    inspector.safety_check()
    assert [gone(session) for session in sessions] == [True]


class Greedy:
    """In place of a sandbox: it wishes for another piece whenever it is asked."""

    broken = ""

    def __init__(self, length: int) -> None:
        self.length = length
        self.asked = 0

    def ask(self, *_: object, **__: object) -> Verdict:
        self.asked += 1
        return Verdict(True, wanted=(Wanted(f"piece {self.asked}", 1 << 20, self.length),))

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(("length", "reason"), [(0, "More pieces"), (limits.KEPT, "Too much")])
def test_what_parses_cannot_make_the_host_keep_or_ask_without_end(length: int, reason: str) -> None:
    inspector = inspectors.QcowInspector()
    inspector._jail = jailer = Greedy(length)  # type: ignore[assignment]
    with pytest.raises(inspectors.ImageFormatError, match=reason):
        inspector.eat_chunk(images.qcow2())
    assert jailer.asked <= limits.KEPT_PIECES + 1
    with pytest.raises(inspectors.ImageFormatError, match=reason):
        inspector.eat_chunk(b"more")
