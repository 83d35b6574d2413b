"""instar inspect: whether images from outside may be taken, and why not."""

from __future__ import annotations

from instar_core.cli import output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.names import local
from instar_core.errors import Cancelled, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

ACCEPTED, FAILED, REFUSED = 0, 1, 2
"""Exit codes: all images are accepted; one could not be looked at; at least one is refused."""
DEFAULT: Final = "strict"

VERB = Verb(
    "inspect",
    ("[--policy NAME|FILE] [-f FMT] [--virtual-size SIZE] [-U]", "[--output json|human] FILE [FILE2 [...]]"),
    "Say whether images may be accepted under a policy, and why not",
    (
        Opt(
            "demands",
            "",
            "policy",
            "NAME|FILE",
            (
                f"openstack, proxmox, ovirt, strict or a policy file (default: {DEFAULT});",
                "a name with / or . in it is that of a file",
            ),
        ),
        Opt("format", "f", "format", "FMT", ("what the images are declared to be (default: nothing is declared)",)),
        Opt(
            "most",
            "",
            "virtual-size",
            "SIZE",
            ("largest virtual disk (default: as the policy says)",),
            values.size("virtual size"),
        ),
        values.SHARE,
        Opt("output", "", "output", "json|human", ("a line of JSON for each image (default), or text",), values.output),
    ),
    (("FILE", ("name of an image file",)),),
)


def run(call: Call, parsed: Parsed) -> int:
    """An answer for each image is printed as soon as it is there; the exit code tells the worst."""
    if not parsed.operands:
        raise Fault("Expecting image file names", usage=True)
    from instar_core.cli.render import inspect as render
    from instar_core.operations.inspect import inspect
    from instar_core.verdict import file

    demands = file.chosen(parsed.get("demands", DEFAULT))
    if parsed.get("most") is not None:
        most = parsed.get("most")
        demands = demands._replace(
            virtual_size=most if demands.virtual_size is None else min(most, demands.virtual_size)
        )
    told = render.human if parsed.get("output") == "human" else render.line
    failed = render.failed_human if parsed.get("output") == "human" else render.failed_line
    codes = set()
    for name in parsed.operands:
        try:
            verdict = inspect(local(name), policy=demands, format=parsed.get("format"), settings=call.settings)
        except Cancelled:
            raise
        except InstarError as error:
            output.out(failed(name, demands.name, error))
            codes.add(FAILED)
        else:
            output.out(told(verdict))
            codes.add(ACCEPTED if verdict.accepted else REFUSED)
        output.flush()
    return next(code for code in (FAILED, REFUSED, ACCEPTED) if code in codes)
