"""Progress is drawn in qemu-img's form."""

from __future__ import annotations

import os
import signal

import pytest

from instar_core.cli.progress import OnSignal, Percent
from instar_core.results import Progress


def drawn(capsys: pytest.CaptureFixture[str], step: float, *events: int) -> str:
    with Percent(step) as percent:
        for done in events:
            percent(Progress("convert", done, 1000))
    return capsys.readouterr().out


def test_start_and_end_are_each_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert drawn(capsys, 1.0) == "    (0.00/100%)\r    (100.00/100%)\r\n"
    assert drawn(capsys, 1.0, 0, 1000, 1000) == "    (0.00/100%)\r    (100.00/100%)\r\n"


def test_a_step_is_printed_once_it_moved_by_more_than_the_least(capsys: pytest.CaptureFixture[str]) -> None:
    assert drawn(capsys, 1.0, 5, 10, 11, 12, 267, 1000) == (
        "    (0.00/100%)\r    (1.10/100%)\r    (26.70/100%)\r    (100.00/100%)\r\n"
    )


def test_after_an_error_the_line_is_only_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), Percent(1.0):
        raise RuntimeError
    assert capsys.readouterr().out == "    (0.00/100%)\r\n"


def test_work_of_no_bytes_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Percent(2.0) as percent:
        percent(Progress("compare", 0, 0))
    assert capsys.readouterr().out == "    (0.00/100%)\r    (100.00/100%)\r\n"


def test_a_signal_asks_for_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with OnSignal() as silent:
        silent(Progress("convert", 1, 10))
        os.kill(os.getpid(), signal.SIGUSR1)
        silent(Progress("convert", 4, 15))
        silent(Progress("convert", 5, 15))
    assert capsys.readouterr() == ("", "    (26.67/100%)\n")
    assert signal.getsignal(signal.SIGUSR1) == before
