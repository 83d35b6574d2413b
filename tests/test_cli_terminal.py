"""On a terminal, tables and progress are drawn for people; under the name qemu-img nothing is."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

CODE = "import sys; from instar_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
MIB = 1 << 20


def on_terminal(*words: str) -> str:
    """What the command writes to a terminal of 100 columns, control sequences left out."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *words], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            parts.append(part)
        assert process.wait(60) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode())


def test_formats_are_a_table() -> None:
    shown = on_terminal("instar", "formats")
    assert "│ raw" in shown
    assert "Distribution" in shown


def test_a_long_conversion_shows_a_bar_that_reaches_the_end(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(MIB) * 8)
    shown = on_terminal(
        "instar", "convert", "-p", "-r", "8M", "-f", "raw", "-O", "raw", str(source), str(tmp_path / "out")
    )
    assert "convert" in shown
    assert "100" in shown
    assert "━" in shown
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_under_the_name_qemu_img_progress_is_its_own_also_on_a_terminal(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(MIB))
    shown = on_terminal("qemu-img", "convert", "-p", "-f", "raw", "-O", "raw", str(source), str(tmp_path / "out"))
    assert shown.startswith("    (0.00/100%)\r")
    assert shown.endswith("(100.00/100%)\r\r\n")
