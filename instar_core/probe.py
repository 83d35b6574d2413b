"""Deciding the format of a file: refuse, never guess."""

from __future__ import annotations

from instar_core import signatures
from instar_core.errors import AmbiguousFormat, NotInstalled, UnknownFormat, Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.session import Probed
    from instar_core.settings import Settings

CERTAIN = 100
QEMU_BLIND = ("iso", "vpc", "dmg")
"""Formats that qemu-img takes for raw where only this project's further signatures (tail, volume descriptor) show
them."""


def decide(probed: Probed, settings: Settings, path: str) -> str:
    """The one format of the file.

    Raises AmbiguousFormat where several formats claim it, NotInstalled or Unusable where the plugin of the only one is
    missing or broken, UnknownFormat where none does and nothing shows that it is raw. With unsafe quirks, raw is the
    answer in the last case, as in qemu.
    """
    claimed = {match.format for match in probed.matches}
    for name in probed.candidates:
        if name not in claimed and name not in probed.unusable and not _known_to_worker(name):
            claimed.add(name)
    claimed |= set(probed.candidates) & set(probed.unusable)
    if settings.unsafe_quirks and claimed:
        claimed -= _unseen(probed, claimed)
        if not claimed:
            return "raw"
    if len(claimed) > 1:
        listed = " and ".join(sorted(claimed))
        raise AmbiguousFormat(f"'{path}' is {listed} at once; say which with -f", path=path)
    if claimed:
        (name,) = claimed
        if name in probed.unusable:
            raise Unusable(f"this is {name}, but its plugin cannot be used: {probed.unusable[name]}", path=path)
        if not any(match.format == name for match in probed.matches):
            lacking = distribution(name)
            why = f"{lacking} is not installed" if lacking else "no plugin reads it"
            raise NotInstalled(f"this is {name}; {why}", path=path)
        return name
    if probed.evidence or settings.unsafe_quirks:
        return "raw"
    raise UnknownFormat(
        "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one", path=path
    )


def _unseen(probed: Probed, claimed: set[str]) -> set[str]:
    """Of the formats that claim a file, those that qemu-img does not see there: any ISO volume, a disk that only a
    footer shows, and of several all that it is blind for."""
    if len(claimed) > 1:
        return claimed & set(QEMU_BLIND)
    doubtful = {match.format for match in probed.matches if match.certainty < CERTAIN}
    return {name for name in claimed if name == "iso" or (name in doubtful and name in QEMU_BLIND)}


def _known_to_worker(name: str) -> bool:
    """Whether the format's plugin was there to ask, so that its silence is an answer."""
    from instar_core import registry

    return name in registry.values()


def distribution(name: str) -> str:
    """The distribution that would bring the format; empty where none is known to."""
    for known, _title, dist, *_ in signatures.KNOWN:
        if known == name:
            return dist
    return f"instar-{name}"
