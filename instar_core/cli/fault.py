"""A call that is wrong, in the words that the caller is told."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Fault(Exception):
    """The command line cannot be carried out; `lines` are printed, the first after `NAME: `.

    With `scope` the first line is prefixed as getopt does (`ARGV0 VERB: `), with `usage` a line follows that points to
    --help. `code` is the exit code. A later line that begins with PREFIX is prefixed with the name too.
    """

    PREFIX = "\0"

    before: dict[str, Any]
    """Values of the options that stand before the mistake, where it is one of the command line."""

    def __init__(self, *lines: str, scope: bool = False, usage: bool = False, code: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.scope = scope
        self.usage = usage
        self.code = code
        self.before = {}


class Later(Fault):
    """Something that qemu-img can do and this version cannot yet: refused in one line, never ignored."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not supported yet")


class HelpWanted(Exception):
    """-h or --help stands among the options, before any mistake."""
