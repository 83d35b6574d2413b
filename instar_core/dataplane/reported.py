"""What a codec worker says went wrong, as an error of ours."""

from __future__ import annotations

from instar_core import limits, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError, NotInstalled

KINDS = frozenset({ErrorKind.INVALID, ErrorKind.UNSUPPORTED, ErrorKind.LIMIT, ErrorKind.REFUSED})
"""What else than CORRUPT a worker may say of a piece."""


def reported(body: bytes) -> InstarError:
    """The error, its texts cut to size and to what can be printed. Raises ContractViolation where there is none."""
    value = wire.decode(body)
    if type(value) is not tuple or len(value) != 4 or any(type(part) is not str for part in value):
        raise ContractViolation("a codec worker's error cannot be read")
    name, kind, *texts = value
    text, hint = ("".join([c if c.isprintable() else "?" for c in text[: limits.MESSAGE]]) for text in texts)
    if name == "NotInstalled":
        return NotInstalled(text, hint=hint)
    if name == "ContractViolation":
        return ContractViolation(text)
    return FormatError(text, kind=kind if kind in KINDS else ErrorKind.CORRUPT)
