"""instar snapshot: lists, makes, deletes and applies internal snapshots."""

from __future__ import annotations

from instar_core.cli import imageopts, output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed


def _mode(mode: str) -> Callable[[str, tuple[str, str] | None], tuple[str, str]]:
    def read(text: str, before: tuple[str, str] | None) -> tuple[str, str]:
        if before is not None:
            raise Fault("Cannot mix '-l', '-a', '-c', '-d'", usage=True)
        return mode, text

    return read


VERB = Verb(
    "snapshot",
    ("[-f FMT] [-l | -a|-c|-d SNAPSHOT]", "[-U] [-q] FILE"),
    "List or manipulate snapshots in the image",
    (
        values.FORMAT,
        values.IMAGE_OPTS,
        Opt(
            "mode",
            "l",
            "list",
            "",
            ("list snapshots in FILE (default action if no -l|-c|-a|-d is given)",),
            _mode("list"),
            True,
        ),
        Opt("mode", "c", "create", "SNAPSHOT", ("create named snapshot",), _mode("create"), True),
        Opt(
            "mode",
            "a",
            "apply",
            "SNAPSHOT",
            ("apply named snapshot to the base",),
            _mode("apply"),
            True,
        ),
        Opt(
            "mode",
            "d",
            "delete",
            "SNAPSHOT",
            ("delete named snapshot", "(only one of -l|-c|-a|-d can be specified)"),
            _mode("delete"),
            True,
        ),
        values.SHARE,
        values.QUIET,
        values.OBJECT,
    ),
    (values.FILE,),
)


def run(call: Call, parsed: Parsed) -> int:
    """The snapshots are printed, or changed."""
    asked = one_file(parsed)
    path = asked.path
    mode, name = parsed.get("mode", ("list", ""))
    if mode != "list" and parsed.get("share"):
        raise imageopts.refuse_share(asked)
    from instar_core.operations import snapshot

    if mode == "list":
        from instar_core.cli.render import snapshots as render

        found = snapshot.list_(path, format=asked.format, open_options=asked.options, settings=call.settings)
        if found:
            lines = ["Snapshot list:", *render.table(found, plain=call.settings.ignore_quirks)]
            output.out("\n".join(lines) + "\n")
        return 0
    act = {"create": snapshot.create, "delete": snapshot.delete, "apply": snapshot.apply}[mode]
    act(path, name, format=asked.format, open_options=asked.options, settings=call.settings)
    return 0
