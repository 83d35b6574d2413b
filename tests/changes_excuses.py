"""Differences between instar and qemu-img in changing images that are deliberate, by their quirks.

Each excuse knows what instar must say then, so that it covers nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from changes_histories import Act
    from differential import Answer


def compressed_again(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img cannot write compressed clusters over others; instar can."""
    words = act.words
    told = re.fullmatch(rb"(qemu-img: error while writing at byte \d+: Input/output error\n)?", want.err)
    return words[0] == "convert" and "-c" in words and (want.code, have.code, have.err) == (1, 0, b"") and bool(told)


def crashed(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img fails an assertion of its own when it compresses in a rebase."""
    told = want.code == -6 and b"Assertion" in want.err
    return act.words[0] == "rebase" and "-c" in act.words and told and (have.code, have.err) == (0, b"")


def grown(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img cannot make room in a QED that lies over a longer file."""
    told = want.err == b"qemu-img: Block driver does not support requested flags\n"
    return act.name == "qed resize" and told and (have.code, have.err) == (0, b"")


def snapshots_lost(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img takes the snapshots away from a sound image that has bitmaps, and calls what they held leaked."""
    told = want.out.startswith(b"The following inconsistencies were found and repaired:") and b"ERROR" not in want.err
    same = (want.code, have.code, have.err) == (0, 0, b"") and have.out.startswith(b"No errors were found")
    return act.name == "qcow2 check -r" and told and same


EXCUSES: dict[str, Callable[[Act, Answer, Answer], bool]] = {
    "convert-compressed-again": compressed_again,
    "rebase-compressed-parts": crashed,
    "repair-keeps-snapshots": snapshots_lost,
    "qed-grows-over-a-longer-backing-file": grown,
}
"""By the names of the quirks."""


KEPT = "rebase-uncovers-nothing"
"""The quirk by which qemu-img changes what an image of version 2 reads as when it gets its first backing file."""
LESS_HARM = {"parallels bitmap": "parallels-bitmaps-stay"}
"""Acts that qemu-img refuses and yet spoils the image by, and the names of the quirks."""

UNREADABLE = {"vmdk commit": "vmdk-commit-breaks-the-chain"}
"""Acts after which qemu-img cannot open what it left, and the names of the quirks."""


def find(act: Act, want: Answer, have: Answer) -> str:
    """The name of the quirk that explains the difference, empty where none does."""
    return next((name for name, excuse in EXCUSES.items() if excuse(act, want, have)), "")
