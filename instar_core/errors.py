"""Everything that instar can fail with.

InstarError
 ├─ UsageError            the call itself is wrong
 ├─ ImageError            the image is at fault
 │   ├─ FormatError         a field of it is
 │   │   └─ Loop              its chain comes back to an image that is in it
 │   ├─ UnknownFormat       no format claims it
 │   └─ AmbiguousFormat     several do
 ├─ NotInstalled          the format is known, its plugin absent
 ├─ PolicyError           a rule forbids it
 ├─ PluginError           a plugin is at fault
 │   ├─ Unusable            it cannot be loaded
 │   └─ ContractViolation   it said what the contract forbids
 ├─ SandboxError          the worker was killed or could not start
 ├─ DeviceError           the operating system refused (path, errno)
 └─ Cancelled             the caller asked to stop

Programs match on the class and on `kind`; people read the message, which names file, offset and reason.
"""

from __future__ import annotations


class ErrorKind:
    """What went wrong, closed: programs may match on it."""

    TRUNCATED = "truncated"
    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    CORRUPT = "corrupt"
    OUT_OF_BOUNDS = "out of bounds"
    LIMIT = "limit"
    REFUSED = "refused"
    MISSING = "missing"
    CONTRACT = "contract"
    SANDBOX = "sandbox"
    IO = "io"
    USAGE = "usage"


class InstarError(Exception):
    """Root of all errors. `path` and `offset` (bytes) are filled in where they are known."""

    kind = ErrorKind.INVALID

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        path: str | None = None,
        offset: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.offset = offset
        self.hint = hint
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        return self.message


class UsageError(InstarError):
    """The caller asked for something that makes no sense."""

    kind = ErrorKind.USAGE


class ImageError(InstarError):
    """The image is at fault."""


class FormatError(ImageError):
    """A field of the image is outside what its format, or a limit, allows."""


class Loop(FormatError):
    """A chain of images comes back to one that is in it."""


class UnknownFormat(ImageError):
    """No known format claims the file, and there is no evidence that it is raw."""

    kind = ErrorKind.REFUSED


class AmbiguousFormat(ImageError):
    """Two formats claim the file."""

    kind = ErrorKind.REFUSED


class NotInstalled(InstarError):
    """The format is known, but the plugin that reads it is not installed."""

    kind = ErrorKind.MISSING


class PolicyError(InstarError):
    """The image policy forbids it."""

    kind = ErrorKind.REFUSED


class PluginError(InstarError):
    """A plugin is at fault."""

    kind = ErrorKind.CONTRACT


class Unusable(PluginError):
    """A plugin is installed but cannot be loaded."""


class ContractViolation(PluginError):
    """A plugin said what the contract forbids."""


class SandboxError(InstarError):
    """The worker was killed (limit, deadline, forbidden call, crash), or none could be started."""

    kind = ErrorKind.SANDBOX


class DeviceError(InstarError):
    """The operating system refused an operation on a file; `errno` says why."""

    kind = ErrorKind.IO

    def __init__(self, message: str, *, errno: int = 0, path: str | None = None, offset: int | None = None) -> None:
        super().__init__(message, path=path, offset=offset)
        self.errno = errno


class Cancelled(InstarError):
    """The caller asked to stop."""

    kind = ErrorKind.REFUSED
