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
    """qemu-img cannot write compressed clusters over others, nor into a qcow that goes on behind the last one."""
    words = act.words
    told = re.fullmatch(
        rb"(qemu-img: error while writing at byte \d+: (Input/output error|Invalid argument)\n)?", want.err
    )
    return words[0] == "convert" and "-c" in words and (want.code, have.code, have.err) == (1, 0, b"") and bool(told)


def crashed(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img fails an assertion of its own when it compresses in a rebase."""
    told = want.code == -6 and b"Assertion" in want.err
    return act.words[0] == "rebase" and "-c" in act.words and told and (have.code, have.err) == (0, b"")


def grown(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img cannot make room in a QED that lies over a longer file, nor commit to it where that needs room."""
    refusals = {
        "qed resize": b"qemu-img: Block driver does not support requested flags\n",
        "qed commit": b"qemu-img: Block job failed: Operation not supported\n",
    }
    return want.err == refusals.get(act.name) and (have.code, have.err) == (0, b"")


def snapshots_lost(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img takes the snapshots away from a sound image that has bitmaps, and calls what they held leaked."""
    told = want.out.startswith(b"The following inconsistencies were found and repaired:") and b"ERROR" not in want.err
    same = (want.code, have.code, have.err) == (0, 0, b"") and have.out.startswith(b"No errors were found")
    return act.name == "qcow2 check -r" and told and same


def compressed_end(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img cannot write zeros into a compressed last cluster of an image with extended L2 entries."""
    told = want.err == b"qemu-img: Failed to zero out new clusters: Operation not supported\n"
    return act.name == "qcow2 resize" and told and (have.code, have.err) == (0, b"")


def longer_file(act: Act, want: Answer, have: Answer) -> bool:
    """qemu-img cannot give room to an image whose file is longer than what it uses of it."""
    shrinking = b"qemu-img: Failed to resize underlying file: Cannot use preallocation for shrinking files\n"
    return act.name == "qcow2 resize" and want.err == shrinking and (have.code, have.err) == (0, b"")


EXCUSES: dict[str, Callable[[Act, Answer, Answer], bool]] = {
    "convert-compressed-again": compressed_again,
    "rebase-compressed-parts": crashed,
    "repair-keeps-snapshots": snapshots_lost,
    "resize-of-a-compressed-end": compressed_end,
    "resize-in-a-longer-file": longer_file,
    "qed-grows-over-a-longer-backing-file": grown,
}
"""By the names of the quirks."""


KEPT = {"qcow2 rebase": "rebase-uncovers-nothing", "qcow2 resize": "resize-of-a-compressed-end"}
"""The quirks by which qemu-img changes what an image reads as, by acts that leave it as it was."""
CONTENT_STAYS = {"resize-of-a-compressed-end", "resize-in-a-longer-file", "qed-grows-over-a-longer-backing-file"}
"""Quirks by which qemu-img refuses what must leave the disk as it was, but for its size."""
ZEROS = "which-zeros-are-stored"
"""The quirk by which acts that write content leave other zeros out of it."""
REFUSED = "refused-changes-nothing"
"""The quirk by which a change that is refused leaves the image alone, but not with qemu-img."""
KEEP_OURS = {"repair-keeps-snapshots", REFUSED, "amend-frees-bitmaps", "amend-frees-zeros", "resize-uncovers-nothing"}
"""Quirks after which both go on with what instar left."""
UNREADABLE = {"vmdk commit": "vmdk-commit-breaks-the-chain"}
"""Acts after which qemu-img cannot open what it left, and the names of the quirks."""


def spoils(act: Act) -> bool:
    """Whether this is one of the acts that change something with qemu-img even where they are refused."""
    spoiled = ("qcow2 resize", "qcow2 snapshot create", "qcow2 amend")
    return act.name.startswith("parallels ") or act.name in spoiled


def find(act: Act, want: Answer, have: Answer) -> str:
    """The name of the quirk that explains the difference, empty where none does."""
    return next((name for name, excuse in EXCUSES.items() if excuse(act, want, have)), "")
