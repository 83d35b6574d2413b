"""What a guest for codecs and keys has in memory: importing this imports every library of theirs that is installed.

Each is used once, for what it imports only when it runs. A library that is missing or broken is left out here, as its
users do without it, or say so.
"""

from __future__ import annotations

from instar_core import wire
from instar_core.codecs import CODINGS, decoder, encoder
from instar_core.codecs.cipher import RARE, SPECIMENS
from instar_core.errors import InstarError
from instar_core.worker import key
from instar_core.worker.kdf import ARGON2

UNIT = 512
PIECE = bytes(range(256)) * 2


def exercise() -> list[str]:
    """Names of the codings that work here, each of which has been used in both directions."""
    done = []
    for name in CODINGS:
        cases = [{"cipher": spec, "key_size": size, "key": PIECE[:size]} for size, spec in SPECIMENS.items()]
        try:
            for params in cases if name == "cipher" else [{}]:
                stored, content = memoryview(bytearray(2 * UNIT)), memoryview(bytearray(UNIT))
                length = encoder(name)(params, UNIT)(memoryview(PIECE), stored, 0)
                decoder(name)(params, UNIT)(stored[:length], content, 0)
        except (InstarError, ImportError):
            continue
        done.append(name)
    for cipher in RARE:
        key.prepare(wire.encode([[cipher], []]), ())
    key.prepare(wire.encode([[], list(ARGON2)]), ())
    return done


WORKING = exercise()
