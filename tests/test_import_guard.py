"""What `instar info` imports: every module on the way of the most frequent call is here by decision."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import instar_core
from instar_core import registry

NEVER = {
    "typing", "re", "enum", "dataclasses", "inspect", "functools", "contextlib", "collections", "json", "argparse",
    "socket", "signal", "subprocess", "pathlib", "tempfile", "importlib.metadata", "importlib_metadata", "rich",
    "pluggy", "numpy", "asyncio", "logging", "hashlib", "cryptography", "cffi", "decimal", "shutil", "zipfile",
}  # fmt: skip
ALLOWED = {
    "__future__", "_cffi_backend", "_collections", "_collections_abc", "_ctypes", "_queue", "_signal", "_socket",
    "_stat", "_struct", "_thread", "array", "binascii", "errno", "fcntl", "gc", "genericpath", "math", "mmap", "os",
    "os.path", "posixpath", "resource", "select", "stat", "struct", "time", "zlib",
}  # fmt: skip
"""Modules outside instar that the way of info may import, os and what that needs included."""
MOST = 90
"""Modules, instar's own included: each costs about a tenth of a millisecond."""

START = "import sys; sys.path[:0] = {path!r}; before = set(sys.modules)\n"
INFO = "from instar_core.cli.main import main; code = main(['instar', 'info', *sys.argv[1:]])\n"
THREADS = "import queue, threading; code = 0\n"
END = "print(*sorted(set(sys.modules) - before), file=sys.stderr); sys.exit(code)"


def imported(*words: str, code: str = INFO) -> set[str]:
    """The modules that the command imports in its own process, started bare: no site, no user's settings."""
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START.format(path=path) + code + END, *words],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C", "INSTAR_SANDBOX": "process"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def of_threads() -> set[str]:
    """What the inline platform adds, which is for tests only."""
    return imported(code=THREADS)


@pytest.fixture
def raw(tmp_path: Path) -> str:
    path = tmp_path / "raw"
    path.write_bytes(bytes(1 << 20))
    return str(path)


def test_the_way_of_info_imports_nothing_heavy(raw: str) -> None:
    found = imported("--sandbox", "process", raw)
    assert found & NEVER == set()


def test_nothing_new_stands_on_the_way_of_info(raw: str) -> None:
    found = imported("--sandbox", "process", raw)
    foreign = {name for name in found if not name.startswith(("instar_core", "instar_sandbox"))}
    assert foreign - ALLOWED == set()
    assert len(found) <= MOST


def test_a_worker_imports_nothing_heavy_for_info(raw: str, of_threads: set[str]) -> None:
    """Inline, the worker's imports show in this process."""
    found = imported("--sandbox", "inline", raw)
    assert {"instar_core.worker.format", "instar_core.raw"} <= found
    assert (found - of_threads) & NEVER == set()


CREATABLE = [
    entry.name
    for entry, spec, _ in registry.formats()
    if spec and "create" in spec.capabilities and entry.name != "raw"
]


@pytest.mark.parametrize("format", CREATABLE)
def test_a_plugin_imports_nothing_heavy_for_info(format: str, tmp_path: Path, of_threads: set[str]) -> None:
    path = str(tmp_path / "image")
    if format == "luks":
        pytest.importorskip("cryptography", reason="cryptography is not installed")
        settings = instar_core.Settings(keyring=instar_core.Keyring({"s": b"x"}))
        options = {"key-secret": "s", "iter-time": "1"}
        instar_core.create(path, format=format, size=1 << 20, options=options, settings=settings)
    else:
        instar_core.create(path, format=format, size=1 << 20)
    found = imported("--sandbox", "inline", path) - of_threads
    assert f"instar_{format}.hooks" in found
    assert found & NEVER == set()
    ours = {name.split(".")[0] for name in found if name.startswith("instar_")}
    assert ours == {"instar_core", "instar_sandbox", f"instar_{format}"}


def test_json_output_does_without_json(raw: str) -> None:
    assert imported("--output=json", "--sandbox", "process", raw) & NEVER == set()
