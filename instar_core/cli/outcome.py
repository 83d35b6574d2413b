"""Failures as text and exit code: one table for all verbs."""

from __future__ import annotations

import os

from instar_core.cli.fault import Fault
from instar_core.cli.printable import printable
from instar_core.errors import ErrorKind, ImageError, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.cli.call import Call

INTERRUPTED: Final = 130
"""Exit code after SIGINT, as shells have it."""
PIPE: Final = 141
"""Exit code where nobody reads our output any more: that of a program killed by SIGPIPE."""
NO_CHECKS: Final = 63
"""Exit code of check where the format has none."""
COMPARE_OPEN, COMPARE_STATUS, COMPARE_READ = 2, 3, 4
"""Exit codes of compare where an image cannot be opened, mapped, read."""


def usage(call: Call, fault: Fault) -> tuple[str, int]:
    """What a wrong call is told, and its exit code."""
    scope = f"{call.typed} {call.verb}".rstrip()
    first = f"{scope if fault.scope else call.name}: {fault.lines[0]}"
    lines = [first]
    for line in fault.lines[1:]:
        lines.append(f"{call.name}: {line[1:]}" if line.startswith(Fault.PREFIX) else line)
    lines = [printable(line) for line in lines]
    if fault.usage:
        lines.append(f"Try '{scope} --help' for more information")
    return "\n".join(lines) + "\n", fault.code


def failure(call: Call, error: InstarError) -> tuple[str, int]:
    """What a failed operation is told, and its exit code. The hint follows on lines of its own."""
    text, code = error.message, 1
    unchecked = error.kind == ErrorKind.UNSUPPORTED and error.path is None and not isinstance(error, ImageError)
    if call.verb == "check" and unchecked:
        text, code = "This image format does not support checks", NO_CHECKS
    if call.verb == "compare":
        code = _compare_code(error)
    if error.path is not None:
        text = f"Could not open '{error.path}': {text}"
    lines = [f"{call.name}: {printable(text)}"]
    if error.hint:
        lines += [printable(line) for line in error.hint.split("\n")]
    return "\n".join(lines) + "\n", code


def _compare_code(error: InstarError) -> int:
    if error.path is not None or error.kind == ErrorKind.USAGE:
        return COMPARE_OPEN
    return COMPARE_READ if error.kind == ErrorKind.IO else COMPARE_STATUS


def unexpected(call: Call, error: BaseException) -> tuple[str, int]:
    """What an error of instar itself is told: one line, and the way to the whole story."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno) + (f": '{error.filename}'" if error.filename else "")
        return f"{call.name}: {printable(text)}\n", 1
    if isinstance(error, MemoryError):
        return f"{call.name}: Cannot allocate memory\n", 1
    text = printable(text)[:500]
    return f"{call.name}: internal error: {text}\nINSTAR_DEBUG=1 shows where\n", 1
