"""How a sandboxed program can fail, seen from outside.

JailError        the worker was killed, failed, or could not be started; `cause` says which
 └─ NoPlatform     this machine, or this build, has no such sandbox
"""

from __future__ import annotations

TEXT = 500
"""Printable characters that are believed of a worker's own account of its failure."""


class Cause:
    """Why a session ended, closed: programs may match on it."""

    FORBIDDEN = "forbidden call"
    CPU = "cpu limit"
    MEMORY = "memory limit"
    DEADLINE = "deadline"
    CRASH = "crash"
    CUT = "cut short"
    PLATFORM = "no platform"
    WALL = "wall"


class JailError(Exception):
    """A session failed. The message is one line that names the cause."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause

    def __str__(self) -> str:
        return self.message


class NoPlatform(JailError):
    """The sandbox asked for is not to be had here."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Cause.PLATFORM)


class WallError(Exception):
    """A wall could not be raised; the message says why. Inside the worker only: it crosses as text."""


def printable(text: str) -> str:
    """The text, cut to what is believed, with everything unprintable shown as a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text[:TEXT])
