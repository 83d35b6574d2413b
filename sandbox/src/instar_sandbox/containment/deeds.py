"""The hostile program: it hears the name of a deed, does it, and tells what came of it if it is still there.

Answers begin with `ready`, `survived`, `refused`, `absent` or `broken`: the last means that the deed itself is wrong.
"""

from __future__ import annotations

import errno

from instar_sandbox.containment.acts import calls, files, instructions, memory, processes, speech
from instar_sandbox.containment.acts.world import Absent, Refused, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.frames import Channel

ACTS = {**files.ACTS, **processes.ACTS, **calls.ACTS, **memory.ACTS, **speech.ACTS, **instructions.ACTS}
READY = b"ready"
MORE = b"more"
STILL = b"still here?"
LONGEST = 200
"""Bytes of an answer about what an act got."""


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> World:
    """The world as the program sees it."""
    return World(argument, descriptors)


def serve(world: World, channel: Channel) -> None:
    """Deeds done until the host hangs up."""
    world.channel = channel
    channel.send(READY)
    while True:
        try:
            order = channel.receive()
        except EOFError:
            return
        channel.send(STILL if order == STILL else done(world, order))


def done(world: World, order: bytes) -> bytes:
    """What came of an order. Raises MemoryError, which is for the sandbox to tell, and KeyboardInterrupt."""
    name, _, rest = order.partition(b" ")
    try:
        got = ACTS[name](world, rest)
    except OSError as error:
        return b"refused: " + errno.errorcode.get(error.errno or 0, str(error)).encode()
    except Refused as error:
        return b"refused: " + str(error).encode()
    except Absent as error:
        return b"absent: " + str(error).encode()
    except MemoryError:
        raise
    except Exception as error:
        return b"broken: " + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:LONGEST]
    return b"survived: " + repr(got).encode("ascii", "backslashreplace")[:LONGEST]
