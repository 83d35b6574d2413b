"""Writing to the standard streams as bytes, so that names come out as they went in."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def encoded(text: str) -> bytes:
    """The bytes of a text: file names as the operating system has them, other text in UTF-8 where that cannot be."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def out(text: str) -> None:
    """The text is on standard output (perhaps still in a buffer)."""
    _write(sys.stdout, text)


def err(text: str) -> None:
    """The text is on standard error, after everything that went to standard output before."""
    flush()
    _write(sys.stderr, text)
    if sys.stderr is not None:
        sys.stderr.flush()


def flush() -> None:
    """Everything written is with the operating system."""
    if sys.stdout is not None:
        sys.stdout.flush()


def terminal() -> bool:
    """Whether standard output is a terminal."""
    try:
        return os.isatty(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    raw = getattr(stream, "buffer", None)
    if raw is None:
        stream.write(text)
    else:
        raw.write(encoded(text))
