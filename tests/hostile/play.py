"""Playing a case: its files are written, the questions are put to the command, and everything is looked at."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from . import outside
from .case import ANY, LINES, NAMES, Ask, Case, Place, write
from .watch import Watch

BREATH = 2.0
"""Seconds that every question has besides those of its case: other programs run on this machine too."""
INTERPRETER = 32 << 20
"""Bytes that a process of the command's own would have at its start."""


class Answer(NamedTuple):
    """What a command said, how long it took (seconds, of the clock), and its largest process (bytes)."""

    code: int
    out: bytes
    err: bytes
    seconds: float
    memory: int


def play(case: Case, folder: Path, names: Sequence[str] = NAMES) -> list[str]:
    """All that went wrong, as text. The folder is empty before; each question is put under each of the names."""
    place = stage(case, folder)
    vm, beyond = Path(place.vm), Path(place.outside)
    before = listing(vm)
    wrong = []
    with Watch(sorted(beyond.iterdir())) as watch:
        for each in case.asks:
            for name in [name for name in each.names if name in names]:
                answer = command(name, each.words, vm, case.seconds + BREATH)
                shown = f"{name} {' '.join(each.words)}"
                wrong += [f"{shown}: {text}" for text in judged(case, each, name, answer, place)]
                if outside.CANARY in b"".join((answer.out, answer.err, *left_behind(vm, before))):
                    wrong.append(f"{shown}: shows what lies outside")
                (vm / "out").unlink(missing_ok=True) if not each.code else None
                if listing(vm) != before:
                    wrong.append(f"{shown}: left {sorted(set(listing(vm)) ^ set(before)) or 'a changed file'} behind")
        touched = watch.touched() - set(case.opened)
    if touched:
        wrong.append(f"opened {', '.join(sorted(touched))}, which lie outside")
    return wrong


def play_all(cases: Sequence[Case], folder: Path, workers: int) -> dict[str, list[str]]:
    """What went wrong, by the names of the cases in which something did. The cases are shared out among processes."""
    children = []
    for number in range(workers):
        told = folder / f"worker {number}"
        child = os.fork()
        if not child:
            _work(cases[number::workers], told)
        children.append((child, told))
    wrong: dict[str, list[str]] = {}
    for child, told in children:
        _, status = os.waitpid(child, 0)
        found = json.loads(told.read_text()) if told.exists() else {}
        wrong.update(found)
        if status:
            wrong[told.name] = [f"ended with {os.waitstatus_to_exitcode(status)}"]
    return wrong


def _work(cases: Sequence[Case], told: Path) -> NoReturn:
    """The calling process plays these cases, writes down what went wrong, and does not return."""
    code = 1
    try:
        wrong = {}
        for number, case in enumerate(cases):
            place = told.with_name(f"{told.name} case {number}")
            place.mkdir()
            found = play(case, place)
            if found:
                wrong[case.name] = found
            shutil.rmtree(place)
        told.write_text(json.dumps(wrong))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def stage(case: Case, folder: Path) -> Place:
    """The files of the case, and the bait, are there."""
    place = Place(str(folder / "vm"), str(folder / "outside"))
    for path in place:
        Path(path).mkdir()
    write(outside.FILES, Path(place.outside))
    write(case.files(place), Path(place.vm))
    return place


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below the folder: its kind and mode, its size, and when it was changed."""
    found = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        found[str(path.relative_to(folder))] = facts.st_mode, facts.st_size, facts.st_mtime_ns
    return found


def left_behind(folder: Path, before: dict[str, tuple[int, int, int]]) -> list[bytes]:
    """The beginnings of the files that were not there before."""
    made = []
    for name in set(listing(folder)) - set(before):
        with (folder / name).open("rb") as file:
            made.append(file.read(1 << 20))
    return made


def judged(case: Case, ask: Ask, name: str, answer: Answer, place: Place) -> list[str]:
    """In what the answer is not as it should be."""
    wrong = []
    err = answer.err.decode("utf-8", "surrogateescape")
    out = answer.out.decode("utf-8", "surrogateescape")
    if answer.code != ask.code:
        wrong.append(f"exit code {answer.code}, not {ask.code}")
    wanted = f"{name}: {ask.line}\n" if ask.line else ""
    if ask.line.startswith(LINES):
        rest = ask.line.removeprefix(LINES)
        wanted = LINES + (f"{name}: {rest}\n" if rest else "")
    if not matches(wanted.replace("/{outside}", place.outside).replace("/{vm}", place.vm), err):
        wrong.append(f"said {err!r}, not {wanted!r}")
    wrong += [f"does not show {text!r} in {out[:2000]!r}" for text in ask.shows if not shown(text, out)]
    if "--output=json" in ask.words and not answer.code and not parsed(out):
        wrong.append(f"no JSON: {out[:500]!r}")
    if "Traceback" in err or "internal error" in err:
        wrong.append("an internal error")
    if re.search(r"[^\n\x20-\x7e\xa0-\U0010ffff]", out + err):
        wrong.append("control characters reach the terminal")
    if answer.seconds > case.seconds:
        wrong.append(f"took {answer.seconds:.1f} s")
    if answer.memory > case.memory:
        wrong.append(f"took {answer.memory >> 20} MiB")
    return wrong


def parsed(text: str) -> bool:
    """Whether the text is JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def matches(wanted: str, text: str) -> bool:
    """Whether the text is the one wanted, in which ANY stands for any text of one line, LINES for any text."""
    return re.fullmatch(pattern(wanted), text) is not None


def shown(wanted: str, text: str) -> bool:
    """Whether the text has the one wanted in it."""
    return re.search(pattern(wanted), text) is not None


def pattern(wanted: str) -> str:
    """The text as a regular expression."""
    return re.escape(wanted).replace(re.escape(ANY), "[^\n]*").replace(re.escape(LINES), "(?s:.*)")


def command(name: str, words: tuple[str, ...], folder: Path, seconds: float) -> Answer:
    """The command called `name`, in a fork of this process, killed after so many seconds (code -9)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        inherited = max(0, resident() - INTERPRETER)
        began = time.monotonic()
        child = os.fork()
        if not child:
            _become([name, *words], folder, out.fileno(), err.fileno())
        pidfd = os.pidfd_open(child)
        try:
            if not select.select([pidfd], [], [], seconds)[0]:
                os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
        finally:
            os.close(pidfd)
        took = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return Answer(code, out.read(1 << 24), err.read(1 << 20), took, (used.ru_maxrss << 10) - inherited)


def resident() -> int:
    """Bytes of memory that this process has: a fork of it begins with them, whatever tests ran here before."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _become(argv: list[str], folder: Path, out: int, err: int) -> None:
    """The calling process is the command, in a group of its own, and does not return."""
    code = 120
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        for variable in [key for key in os.environ if key.startswith("INSTAR_") and key != "INSTAR_SANDBOX"]:
            del os.environ[variable]
        os.environ.update(LC_ALL="C.UTF-8", TZ="UTC", XDG_CONFIG_HOME=str(folder / "none"))
        for given, wanted in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(given, wanted)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from instar_core.cli.main import main

        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code & 0xFF)
