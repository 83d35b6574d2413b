"""What runs in a sandbox to see how quickly it reads its file."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.frames import Channel


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> int:
    """The file."""
    del argument
    return descriptors[0]


def serve(file: int, channel: Channel) -> None:
    """Each question is "size count": so many pieces of such a size are read from the file's start on."""
    while True:
        try:
            size, count = (int(word) for word in channel.receive().split())
        except EOFError:
            return
        done = sum([len(os.pread(file, size, at * size)) for at in range(count)])
        channel.send(b"%d" % done)
