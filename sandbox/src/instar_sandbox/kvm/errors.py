"""Why a guest ended. Inside the process of its monitor only: to the host it crosses as an exit code and one line."""

from __future__ import annotations


class GuestEnded(Exception):
    """The guest will not run again."""


class GuestExited(GuestEnded):
    """It asked to end."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit {code}")
        self.code = code


class GuestForbidden(GuestEnded):
    """It made a system call, or wrote to a port, that it may not."""


class GuestFault(GuestEnded):
    """It broke a rule of the processor's, or gave an address that is not its own."""


class GuestWaits(Exception):
    """It reads its channel for the first time: the moment at which it is sealed."""


class BackendError(Exception):
    """KVM does not do what this needs of it; the message says what."""
