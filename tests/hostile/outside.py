"""What lies outside of an image's folder: bait. Each holds a text that no output may show."""

from __future__ import annotations

from collections.abc import Mapping

from .case import Fifo, File, Place

CANARY = b"c4nary-0f-the-outs1de"
PASSWD = b"root:x:0:0:" + CANARY + b":/root:/bin/sh\n"


def disk(text: bytes = CANARY) -> bytes:
    """A raw disk that shows itself by an empty partition table, and is full of the text."""
    made = bytearray((text + b"\n") * (65536 // (len(text) + 1) + 1))[:65536]
    made[446:512] = bytes(64) + b"\x55\xaa"
    return bytes(made)


FILES: Mapping[str, File] = {
    "passwd": PASSWD * 300,
    "disk": disk(),
    "fifo": Fifo(),
}
"""A text as /etc/passwd, a disk of somebody else, and a pipe at which a careless reader waits for ever."""


def name(place: Place, bait: str) -> str:
    """The absolute name of a bait."""
    return f"{place.outside}/{bait}"
