"""Differences between instar and qemu-img that random histories meet and that are deliberate, by their quirks.

Each excuse knows what instar must say then, so that it covers nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from differential import Answer


def vhdx_map(words: Sequence[str], want: Answer, have: Answer) -> bool:
    """qemu-img calls all of a VHDX data without a place; what instar tells covers the same range."""
    if words[0] not in ("map", "measure") or "vhdx" not in words[-1]:
        return False
    if words[0] == "map" and not _json(words):
        return b"File contains external, encrypted or compressed clusters" in want.err and not have.code
    if want.code or have.code:
        return False
    told, mine = json.loads(want.out), json.loads(have.out)
    if words[0] == "measure":
        return mine["fully-allocated"] == told["fully-allocated"] and mine["required"] <= told["required"]
    ends = [(part[0]["start"], part[-1]["start"] + part[-1]["length"]) for part in (told, mine)]
    return all(one["data"] and "offset" not in one for one in told) and ends[0] == ends[1]


def qcow_too_large(words: Sequence[str], want: Answer, have: Answer) -> bool:
    """qemu-img makes a qcow that it cannot open."""
    return (
        (words[0], want.code, have.code) == ("create", 0, 1)
        and words[words.index("-f") + 1] == "qcow"
        and have.err.endswith(b"The image size is too large for file format 'qcow'\n")
    )


def qed_findings(words: Sequence[str], want: Answer, have: Answer) -> bool:
    """qemu-img says nothing of what it finds in a QED; all else is the same."""
    same = (want.code, want.out, want.err) == (have.code, have.out, b"")
    return words[0] == "check" and ".qed" in words[-1] and same


def parallels_duplicates(words: Sequence[str], want: Answer, have: Answer) -> bool:
    """qemu-img finds shared clusters, which its own driver makes when it discards some, and gives up."""
    busy = b"qemu-img: Check failed: Device or resource busy\n"
    told = words[0] == "check" and want.err.endswith(busy) and have.code == 2
    return told and want.err.removesuffix(busy) == have.err


def _json(words: Sequence[str]) -> bool:
    return "--output=json" in words


EXCUSES: dict[str, Callable[[Sequence[str], Answer, Answer], bool]] = {
    "map-of-vhdx": vhdx_map,
    "qcow-unusable-image": qcow_too_large,
    "qed-findings": qed_findings,
    "parallels-duplicates": parallels_duplicates,
}
"""By the names of the quirks."""


def find(words: Sequence[str], want: Answer, have: Answer) -> str:
    """The name of the quirk that explains the difference, empty where none does."""
    return next((name for name, excuse in EXCUSES.items() if excuse(words, want, have)), "")
