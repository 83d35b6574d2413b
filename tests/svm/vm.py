"""The machine: its emulator's command line, what it says, and how it ends."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import BinaryIO

MEMORY = 3072
"""MiB."""
PROCESSOR = "EPYC,+svm,+npt"
KERNEL_WORDS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 nokaslr mitigations=off random.trust_cpu=on rdinit=/machine/init"
)
LARGEST_STATUS = 255


class DeadlinePassed(Exception):
    """The machine was still running when its time was over."""


class Speech:
    """What the machine says: to be shown as it comes, but for the line that begins with the token and tells the status.

    A command cannot say that line by chance, for the token is drawn at random in each run.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode() + b" "
        self._held = b""
        self._at_start = True
        self.status: int | None = None

    def feed(self, data: bytes) -> bytes:
        """What of all that came so far, and was not yet given back, is to be shown."""
        *whole, rest = (self._held + data).split(b"\n")
        shown = b"".join(self._line(line) for line in whole)
        if self._at_start and (rest.startswith(self._token) or self._token.startswith(rest)):
            self._held = rest
        else:
            self._held, self._at_start = b"", False
            shown += rest
        return shown

    def _line(self, line: bytes) -> bytes:
        status = line.removeprefix(self._token) if self._at_start else line
        self._at_start = True
        if status != line and status.isdigit() and int(status) <= LARGEST_STATUS:
            self.status = int(status)
            return b""
        return line + b"\n"


def command_line(
    emulator: str, kernel: str, archive: str, kernel_log: str, processors: int, cpu: str = PROCESSOR
) -> list[str]:
    """The command that runs the machine: no disk, network or screen; the kernel's line to a file, the other to us."""
    return [
        emulator,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none", "-monitor", "none"),
        *("-accel", "tcg,thread=multi" if processors > 1 else "tcg", "-cpu", cpu, "-smp", str(processors)),
        *("-m", str(MEMORY), "-kernel", kernel, "-initrd", archive, "-append", KERNEL_WORDS),
        *("-serial", f"file:{kernel_log}", "-serial", "stdio"),
    ]


def run(command: list[str], speech: Speech, shown: BinaryIO, complaints: str, deadline: float) -> int | None:
    """The status that the machine told, or None if it ended without. Afterwards it is gone, whatever happened.

    What it says goes to `shown` as it comes, what its emulator complains of to the file of that name. The deadline is
    in seconds. Raises DeadlinePassed.
    """
    end = time.monotonic() + deadline
    with open(complaints, "wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        while speech.status is None:
            left = end - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise DeadlinePassed(f"the machine did not end within {deadline:g} s")
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            shown.write(speech.feed(data))
            shown.flush()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return speech.status
