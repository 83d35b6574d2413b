"""The first run of every command: without a clock that counts, to see that all give the same, and what they take."""

from __future__ import annotations

import filecmp
import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from bench.calls import Call, reads_right, service
from bench.case import Case
from bench.images import Images
from bench.measure import ERRORS, Command, Run
from bench.memory import Peak
from bench.programs import Programs

BRIEF, LOOKS = 0.1, 4
"""Seconds that are too short to see the peak of memory at once, and how many runs of such a command are watched."""


class Different(Exception):
    """The two programs gave different results."""


class First(NamedTuple):
    """A command's first run, the peak of its memory and whether that is exact, the bytes on disk of what it made.

    0 bytes where it was not looked.
    """

    run: Run
    peak: int = 0
    exact: bool = True
    made: int = 0


def verify(case: Case, theirs: Command | Call, ours: Sequence[Command | Call], images: Images) -> list[First]:
    """All commands work and say or make the same; this is also what warms the caches. Raises Failed, Different."""
    every = [theirs, *ours]
    said = [f"{command.folder}.stdout" for command in every]
    firsts = [once(case, command._replace(output=output)) for command, output in zip(every, said, strict=True)]
    for command, output in zip(ours, said[1:], strict=True):
        if case.made:
            outputs = [os.path.join(each.folder, f"out.{case.made}") for each in (command, theirs)]
            agree(compared(images.programs, case.made, *outputs))
        for name in case.changes:
            changed(images.programs, os.path.join(command.folder, name), os.path.join(theirs.folder, name))
        if case.answers and not filecmp.cmp(said[0], output, shallow=False):
            raise Different("the two programs print different answers")
        if case.call == "random-reads" and isinstance(command, Call):
            (name,) = (word[1:] for word in case.words)
            if not reads_right(service(command.place), images.path(name), images.path("mixed.raw")):
                raise Different("what is read is not what the disk holds")
    return firsts


def once(case: Case, command: Command | Call) -> First:
    """The command has run. Raises Failed."""
    if isinstance(command, Call):
        return First(command.run())
    peak = Peak()
    run = command.run(peak)
    for _ in range(LOOKS - 1 if run.wall < BRIEF and not case.changes else 0):
        command.run(peak)
    made = taken(command.folder) if case.made else 0
    return First(run, peak.bytes, peak.exact, made)


def taken(folder: str) -> int:
    """Bytes on disk of what a command has made in its folder."""
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder) if entry.name != ERRORS)


def compared(programs: Programs, kind: str, ours: str, theirs: str) -> list[str]:
    """The command that compares two images of this format."""
    if kind != "luks":
        return [programs.qemu_img, "compare", "-f", kind, "-F", kind, ours, theirs]
    opened = [f"driver=luks,key-secret=s,file.filename={path}" for path in (ours, theirs)]
    return [programs.qemu_img, "compare", "--object", "secret,id=s,data=hush", "--image-opts", *opened]


def changed(programs: Programs, ours: str, theirs: str) -> None:
    """Both images are sound and read the same, to the end. Raises Different."""
    agree([programs.qemu_img, "check", "-f", "qcow2", ours])
    agree([programs.qemu_img, "compare", "-s", "-f", "qcow2", "-F", "qcow2", ours, theirs], unless="block status")


def agree(words: list[str], unless: str = "") -> None:
    """The program that judges ends well; or, where that is given, with these words. Raises Different."""
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    if judged.returncode and not (unless and unless in judged.stdout):
        raise Different((judged.stdout + judged.stderr).strip())
