"""A command stops when its time is up or it is told to, and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CODE = "import sys; from instar_core.cli.main import main; sys.exit(main(['instar', *sys.argv[1:]]))"
MAIN = [sys.executable, "-c", CODE]
SLOW = ["convert", "-f", "raw", "-O", "raw", "-r", "1M", "-S", "0"]


def big(folder: Path) -> Path:
    path = folder / "source.raw"
    path.write_bytes(os.urandom(1 << 20) * 16)
    return path


def test_the_time_limit_ends_a_command_with_one_line_and_no_target(tmp_path: Path) -> None:
    target = tmp_path / "target.raw"
    started = time.monotonic()
    done = subprocess.run(
        [*MAIN, *SLOW, "--timeout", "1", str(big(tmp_path)), str(target)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "time limit of 1 s" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - started < 15
    assert not target.exists()


def interrupted(folder: Path, number: int) -> tuple[int, Path]:
    target = folder / "target.raw"
    with subprocess.Popen([*MAIN, *SLOW, str(big(folder)), str(target)], stderr=subprocess.PIPE) as process:
        for _ in range(400):
            if target.exists() and target.stat().st_size:
                break
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=30)
        return process.returncode, target


def test_sigterm_leaves_no_target_behind(tmp_path: Path) -> None:
    code, target = interrupted(tmp_path, signal.SIGTERM)
    assert code == 143
    assert not target.exists()


def test_an_interrupt_from_the_keyboard_leaves_no_target_behind(tmp_path: Path) -> None:
    code, target = interrupted(tmp_path, signal.SIGINT)
    assert code == 130
    assert not target.exists()
