"""What runs in a guest: the recipe's modules are imported, the guest is sealed, then a program like a jailed process's.

Reading the channel for the first time seals: the state of that moment is the snapshot, and every session begins there.
"""

from __future__ import annotations

import gc
import os
import sys

from instar_sandbox import shared
from instar_sandbox.frames import Channel
from instar_sandbox.jail.descriptors import FIRST, INPUT, OUTPUT
from instar_sandbox.kvm import layout
from instar_sandbox.lastwords import EXIT_FAILED, EXIT_MEMORY, SAY_FAILED, SAY_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from instar_sandbox.frames import Channel as AnyChannel


def main(modules: Sequence[str]) -> NoReturn:
    """The modules are imported and the guest is sealed; then what the host orders has run, and the guest has ended."""
    for name in modules:
        __import__(name)
    sys.stdin = sys.stdout = sys.stderr = None
    sys.path.clear()
    sys.path_importer_cache.clear()
    shared.place = layout.SHARED
    channel = Channel(INPUT, OUTPUT)
    gc.collect()
    gc.freeze()
    code = EXIT_FAILED
    try:
        obey(channel)
        code = 0
    except MemoryError:
        code = EXIT_MEMORY
        channel.last_words(SAY_MEMORY)
    except BaseException as error:
        channel.last_words(SAY_FAILED, f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def obey(channel: AnyChannel) -> None:
    """The program of the first frames has run: they are largest frame and count of files, its module, its argument."""
    largest, files = (int(word) for word in channel.receive().split())
    module = channel.receive().decode()
    argument = channel.receive()
    channel.limit(largest)
    __import__(module)
    code = sys.modules[module]
    code.serve(code.prepare(argument, tuple(range(FIRST, FIRST + files))), channel)
