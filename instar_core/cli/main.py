"""The entry point of both commands, instar and qemu-img: the name decides, then the verb's module does."""

from __future__ import annotations

import os
import sys

from instar_core.cli import deaf, extras, getopt, output, settings_load, stopping
from instar_core.cli.call import QEMU_IMG, Call, shown_name
from instar_core.cli.fault import Fault, HelpWanted
from instar_core.errors import InstarError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any, Final, NoReturn

    Number = Callable[[BaseException, int], int]

VERBS: Final = (
    "amend",
    "bench",
    "bitmap",
    "check",
    "commit",
    "compare",
    "convert",
    "create",
    "dd",
    "info",
    "map",
    "measure",
    "rebase",
    "resize",
    "snapshot",
)
"""Verbs of qemu-img that there are."""
OWN: Final = ("config", "formats", "inspect", "sandbox")
"""Verbs that qemu-img does not have; they exist under the name instar only."""

COLLECTED: Final = 50_000
"""Objects after which garbage is looked for: more than the modules of a short command make, which are no garbage."""

STANDARD: Final = (
    getopt.HELP,
    getopt.Opt("version", "V", "version", "", ("display version info and exit",)),
    getopt.Opt("trace", "T", "trace", "TRACE", ("accepted for compatibility; does nothing",)),
)


def command(argv: list[str] | None = None) -> NoReturn:
    """This process is one command line: it ends with main()'s exit code.

    It ends at once. Taking the interpreter apart would cost as much time as a worker needs to read a small image.
    """
    import gc

    gc.set_threshold(COLLECTED)
    os._exit(main(argv))


def main(argv: list[str] | None = None) -> int:
    """The exit code of a whole command line (`argv[0]` is the name it is called by). Prints; never raises.

    With INSTAR_DEBUG=1 in the environment errors of instar itself are raised.
    """
    words = list(sys.argv) if argv is None else list(argv)
    typed = shown_name(words[0] if words else "instar")
    name = os.path.basename(typed)
    call = Call(typed, name, name == QEMU_IMG, "", DEFAULTS)
    return ended(call, lambda: start(call, words[1:]))


def ended(call: Call, act: Callable[[], int], number: Number | None = None) -> int:
    """The exit code of a command line that `act` carries out. What that raises is told, and so is output that cannot be
    written; `number` may put another exit code for an error in place of qemu-img's."""
    try:
        with deaf.Deaf():
            code = _guarded(call, act, number)
        output.flush()
    except BrokenPipeError:
        return _silenced()
    except OSError as error:  # the last of the output could not be written, and will not be at the next flush either
        _silenced()
        return _told(call, error, number)
    return code


def _guarded(call: Call, act: Callable[[], int], number: Number | None) -> int:
    try:
        return act()
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        return _told(call, error, number)


def start(call: Call, words: list[str]) -> int:
    """Carries out the command line after the name. Raises what goes wrong."""
    values: dict[str, Any] = {}
    scanner = getopt.Scanner(words, STANDARD, getopt.STOP, extras.EXTRAS)
    for option, text in scanner:
        if option is None:
            continue
        if option.key == "help":
            from instar_core.cli import help_text

            output.out(help_text.overview(call))
            return 0
        if option.key == "version":
            from instar_core.cli import version

            output.out(version.told(call.qemu))
            return 0
        getopt.keep(values, option, text)
    rest = words[scanner.at :]
    if not rest:
        raise Fault("Not enough arguments", usage=True)
    verb = rest[0]
    if verb not in VERBS and (call.qemu or verb not in OWN):
        raise Fault(f"Command not found: {verb}", usage=True)
    return _run(call._replace(verb=verb), rest[1:], values)


def _run(call: Call, words: Sequence[str], values: dict[str, Any]) -> int:
    module = verb_module(call.verb)
    parsed = getopt.Parsed({}, [])
    try:
        parsed = getopt.parse(module.VERB, words, extras.EXTRAS)
        parsed.values.update({**values, **parsed.values})
        held = settings_load.load(parsed.values, qemu=call.qemu)
        settings = settings_load.settings(held, force_share=parsed.get("share", False))
        if parsed.get("object"):
            from instar_core.cli import objects

            if objects.wants_help(parsed.get("object")):
                output.out(objects.HELP)
                return 0
            settings = settings._replace(keyring=objects.keyring(parsed.get("object")))
        try:
            with stopping.Stoppable(settings.timeout):
                code: int = module.run(call._replace(settings=settings), parsed)
        finally:
            if settings.keyring is not None:
                settings.keyring.clear()
    except HelpWanted:
        from instar_core.cli import help_text

        output.out(help_text.verb(call, module.VERB))
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError):
            raise
        if isinstance(error, Fault) and error.before.get("object"):
            error = _of_objects(error.before["object"]) or error
        if isinstance(error, InstarError) and error.path is not None:
            error.path = getattr(error.path, "typed", error.path)
        return _told(call, error)
    return code


def _of_objects(definitions: Sequence[str]) -> Fault | None:
    """What is wrong with objects that were defined before another mistake: that is told first."""
    from instar_core.cli import objects

    try:
        objects.keyring(definitions).clear()
    except Fault as fault:
        return fault
    return None


def verb_module(verb: str) -> ModuleType:
    """The module of a verb: it has VERB and run(call, parsed)."""
    name = f"instar_core.cli.{verb}"
    __import__(name)
    return sys.modules[name]


def _told(call: Call, error: BaseException, number: Number | None = None) -> int:
    """The exit code for the error, its text printed."""
    from instar_core.cli import outcome

    if isinstance(error, stopping.Terminated):
        return stopping.TERMINATED
    if isinstance(error, KeyboardInterrupt):
        return outcome.INTERRUPTED
    if isinstance(error, Fault):
        text, code = outcome.usage(call, error)
    elif isinstance(error, InstarError):
        text, code = outcome.failure(call, error)
    elif os.environ.get("INSTAR_DEBUG") == "1":
        raise error
    else:
        text, code = outcome.unexpected(call, error)
    if number is not None:
        code = number(error, code)
    try:
        output.err(text)
    except BrokenPipeError:
        return _silenced()
    return code


def _silenced() -> int:
    """Standard output leads nowhere, so that the interpreter's last flush does not complain."""
    from instar_core.cli import outcome

    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        pass
    finally:
        os.close(null)
    return outcome.PIPE
