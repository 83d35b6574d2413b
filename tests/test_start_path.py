"""The way to the first answer is short: little is imported, the worker starts early, the process ends at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instar_core import chain, launch
from instar_core.errors import DeviceError, NotInstalled, UsageError
from instar_core.settings import Settings

SLOW = {
    "typing", "re", "enum", "dataclasses", "inspect", "functools", "contextlib", "collections", "argparse", "json",
    "socket", "signal", "subprocess", "threading", "pathlib", "tempfile", "importlib.metadata", "importlib_metadata",
    "rich", "pluggy", "numpy", "cryptography", "hashlib", "asyncio", "logging", "ctypes", "cffi",
}  # fmt: skip
"""Modules each of which costs more than a millisecond."""
INSIDE = Settings(sandbox="process")


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "zeros.raw"
    path.write_bytes(bytes(1 << 20))
    return str(path)


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("options", [[], ["--output=json"], ["--backing-chain"]])
def test_info_imports_nothing_slow(image: str, options: list[str]) -> None:
    code = (
        "import sys; before = set(sys.modules); from instar_core.cli.main import main;"
        "code = main(['instar', 'info', *sys.argv[1:]]); print('imported', *set(sys.modules) - before); sys.exit(code)"
    )
    done = python(code, *options, image)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines()[-1].split()[1:])
    assert "instar_core.chain" in imported
    assert not imported & SLOW


def test_a_word_of_the_contract_is_found_without_importing_a_module_that_only_looks_like_one() -> None:
    done = python("import sys; from instar_core import device; print(*sys.modules)")
    assert "instar_core.device" in done.stdout.split()
    assert "instar_core.hookspecs" not in done.stdout.split()
    done = python("from instar_core import Extent, FormatError, ImageInfo, Settings, Source, hookimpl; print(Extent)")
    assert done.returncode == 0, done.stderr


def test_the_worker_starts_before_the_host_has_imported_what_reads_its_answers(image: str) -> None:
    code = (
        "import sys; from instar_core import launch; from instar_core.settings import Settings;"
        "begun = launch.begin(sys.argv[1], 'info', Settings(sandbox='process')); print(*sys.modules);"
        "begun.session.close(); begun.device.close()"
    )
    loaded = python(code, image).stdout.split()
    assert "instar_core.launch" in loaded
    assert not {"instar_core.chain", "instar_core.validate", "instar_core.session"} & set(loaded)


def test_what_was_begun_is_taken_over_and_closed(image: str) -> None:
    before = open_files()
    begun = launch.begin(image, "info", INSIDE)
    with chain.open_member(image, INSIDE, "info", begun=begun) as member:
        assert member.format == "raw"
        assert member.devices == [begun.device]
    assert open_files() == before


def test_a_beginning_that_fails_says_where_and_leaves_nothing_open(tmp_path: Path, image: str) -> None:
    before = open_files()
    with pytest.raises(DeviceError) as caught:
        launch.begin(str(tmp_path / "absent"), "info", INSIDE)
    assert caught.value.path == str(tmp_path / "absent")
    with pytest.raises((UsageError, NotInstalled)) as refused:
        launch.begin(image, "info", INSIDE, "no-such-format")
    assert refused.value.path == image
    assert open_files() == before


@pytest.mark.parametrize("words,code", [(["--version"], 0), (["info", "absent"], 1), (["info", "--nonsense", "x"], 1)])
def test_a_command_ends_with_the_code_of_main_and_all_its_output(words: list[str], code: int) -> None:
    ending = python("import sys; from instar_core.cli.main import command; command(['instar', *sys.argv[1:]])", *words)
    whole = python(
        "import sys; from instar_core.cli.main import main; sys.exit(main(['instar', *sys.argv[1:]]))", *words
    )
    assert (ending.returncode, ending.stdout, ending.stderr) == (whole.returncode, whole.stdout, whole.stderr)
    assert ending.returncode == code
    assert ending.stdout or ending.stderr
