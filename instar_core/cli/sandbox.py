"""instar sandbox: what images are parsed in here, its preparation, and its trial by hostile deeds."""

from __future__ import annotations

from instar_core.cli import output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

PLATFORMS: Final = ("kvm", "process", "all")
ACTIONS: Final = {
    "show": ("output",),
    "prepare": ("force",),
    "test": ("platform", "deed", "output"),
}
"""What can be done, and the options that belong to it."""


def _platform(text: str) -> str:
    if text not in PLATFORMS:
        raise Fault(f"--platform expects kvm, process or all, not '{text}'", usage=True)
    return text


def _deed(text: str, before: list[str] | None) -> list[str]:
    return [*(before or ()), text]


VERB = Verb(
    "sandbox",
    (
        "[show] [--output human|json]",
        "prepare [--force]",
        "test [--platform kvm|process|all] [--deed NAME] [--output human|json]",
    ),
    "Show, prepare or test what images are parsed in",
    (
        Opt("force", "", "force", "", ("prepare: make also those snapshots anew that can be used",)),
        Opt("platform", "", "platform", "kvm|process|all", ("test: which sandbox (default: all)",), _platform),
        Opt("deed", "", "deed", "NAME", ("test: only this deed; may be given again",), _deed, True),
        values.OUTPUT,
    ),
    (
        (
            "ACTION",
            (
                "show: walls, KVM, snapshots, and how quick they are now; exit code 1 if the",
                "  sandbox that the settings choose does not work (default)",
                "prepare: make and try the snapshots that guests begin at, for this user",
                "test: let a hostile program do its worst; exit code 1 if anything was not contained",
            ),
        ),
    ),
)


def run(call: Call, parsed: Parsed) -> int:
    """The action is done; its exit code."""
    action, *others = parsed.operands or ["show"]
    if others or action not in ACTIONS:
        raise Fault(f"Unexpected argument: {others[0] if others else action}", usage=True)
    known = {option.key for option in VERB.options}
    foreign = sorted((known & parsed.values.keys()) - set(ACTIONS[action]))
    if foreign:
        raise Fault(f"--{foreign[0]} does not go with {action}", usage=True)
    if action == "prepare":
        from instar_core.cli import preparing

        return preparing.run(anew=parsed.get("force", False))
    if action == "test":
        from instar_core.cli import containing

        return containing.run(
            parsed.get("platform", "all"), parsed.get("deed"), call.settings, json=parsed.get("output") == "json"
        )
    return _show(call, parsed)


def _show(call: Call, parsed: Parsed) -> int:
    from instar_core.cli import settings_load
    from instar_core.cli.render import sandbox as render
    from instar_core.operations import sandbox

    origin = settings_load.load(parsed.values, qemu=call.qemu)["sandbox"].origin
    found = sandbox.state(call.settings)
    if parsed.get("output") == "json":
        output.out(render.json(found, origin))
    else:
        output.out(render.heading(found, origin))
        render.show(render.tables(found))
    return 0 if found.works else 1
