"""The command vhd-util: what OpenStack's Cinder, and others, run to put chains of VHD files together.

Options, output and exit codes are those of the program of that name of blktap, as far as they are here: an exit code is
an error number of the system. Errors go to standard error, a line each.
"""

from __future__ import annotations

import errno
import os
import sys

from instar_core.cli import extras, getopt, output, settings_load, stopping, vhd_verbs
from instar_core.cli.call import Call, shown_name
from instar_core.cli.fault import Fault, HelpWanted
from instar_core.cli.main import ended
from instar_core.errors import DeviceError, ErrorKind, InstarError, PolicyError, SandboxError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

NAME: Final = "vhd-util"
ABSENT: Final = ("read", "set", "repair", "fill", "scan", "check", "revert", "copy", "key")
"""Commands of blktap's vhd-util that are not here."""
NUMBERS: Final = {
    ErrorKind.UNSUPPORTED: errno.ENOSYS,
    ErrorKind.IO: errno.EIO,
    ErrorKind.MISSING: errno.ENOENT,
    ErrorKind.REFUSED: errno.EACCES,
    ErrorKind.LIMIT: errno.EFBIG,
}


def command() -> NoReturn:
    """This process is one command line: it ends with main()'s exit code, at once."""
    os._exit(main())


def main(argv: list[str] | None = None) -> int:
    """The exit code of a whole command line (`argv[0]` is the name it is called by). Prints; never raises.

    With INSTAR_DEBUG=1 in the environment errors of instar itself are raised.
    """
    words = list(sys.argv) if argv is None else list(argv)
    typed = shown_name(words[0] if words else NAME)
    verb = words[1] if len(words) > 1 else ""
    call = Call(typed, os.path.basename(typed), False, verb, DEFAULTS)
    return ended(call, lambda: _run(call, words[1:]), _number)


def _run(call: Call, words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        output.out(f"usage: {call.name} COMMAND [OPTIONS]\nCOMMAND := {{ {' | '.join(vhd_verbs.VERBS)} }}\n")
        return 0
    if words[0] in ABSENT:
        raise Fault(f"the command '{words[0]}' is not supported", code=errno.ENOSYS)
    found = vhd_verbs.VERBS.get(words[0])
    if found is None:
        raise Fault(f"invalid COMMAND {words[0]}")
    verb, run = found
    try:
        parsed = getopt.parse(verb, [word for word in words[1:] if word != "--debug"], extras.EXTRAS)
    except HelpWanted:
        from instar_core.cli import help_text

        output.out(help_text.verb(call, verb))
        return 0
    if parsed.operands:
        raise Fault(f"unexpected argument '{parsed.operands[0]}'", usage=True)
    if not parsed.get("name"):
        raise Fault("-n NAME is missing", usage=True)
    settings = settings_load.settings(settings_load.load(parsed.values))
    with stopping.Stoppable(settings.timeout):
        run(call._replace(settings=settings), parsed)
    return 0


def _number(error: BaseException, code: int) -> int:
    """The error number of the system that says most about the error; `code` is qemu-img's for it."""
    if isinstance(error, Fault):
        return errno.EINVAL if code == 1 else code
    if not isinstance(error, InstarError):
        return error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    if isinstance(error, DeviceError) and error.errno:
        return error.errno
    if isinstance(error, SandboxError):
        return errno.EIO
    if isinstance(error, PolicyError):
        return errno.EACCES
    return NUMBERS.get(error.kind, errno.EINVAL)
