"""containment: the sandboxes of this machine tried with hostile deeds."""

from __future__ import annotations

from functools import partial

import instar_sandbox
from instar_sandbox.containment import deeds, suite
from instar_sandbox.kvm import prepare
from instar_sandbox.kvm.store import Recipe

from instar_core.errors import SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from instar_sandbox.containment.suite import Outcome

RECIPE = "containment"


def tried(
    platforms: Iterable[str], names: Sequence[str] | None, absent: dict[str, str]
) -> Iterator[tuple[str, Outcome]]:
    """(platform, what came of a deed): of those named, or all. A platform that is not here is in `absent`, with why.

    For kvm a snapshot that holds the hostile program is made in memory; the prepared ones do not. Raises SandboxError
    where a platform goes away between two deeds.
    """
    for platform in platforms:
        made = None
        begun = False
        try:
            if platform == "kvm":
                made = prepare.make(Recipe(RECIPE, [deeds.__name__]))
            start = partial(instar_sandbox.start, platform, snapshot=made)
            for outcome in suite.run(start, names):
                begun = True
                yield platform, outcome
        except instar_sandbox.NoPlatform as error:
            if begun:
                raise SandboxError(f"{platform} was here, and is no more: {error}") from error
            absent[platform] = str(error).removeprefix("no platform: ")
        finally:
            if made is not None:
                made.close()
