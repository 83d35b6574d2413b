"""How much work a new key slot is to cost: chosen by trying, in time of one processor.

The clock is the processor's, so that a loaded machine does not make weaker slots.
"""

from __future__ import annotations

from time import process_time

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.worker import kdf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TRIAL = 0.05
"""Seconds after which a trial tells enough."""
LEAST_ITERATIONS = 1000
"""Of PBKDF2, as QEMU and cryptsetup have it."""
LEAST_PASSES = 4
"""Of Argon2, as cryptsetup has it."""
LEAST_MEMORY = 32
"""KiB of memory of Argon2, as cryptsetup has it."""
TRIAL_MEMORY = 16 << 10
MOST = (1 << 32) - 1


def iterations(hash_name: str, length: int, milliseconds: int) -> int:
    """Iterations of PBKDF2 that take so long for a key of `length` bytes.

    Raises FormatError (LIMIT) for more than are ever tried.
    """
    count = LEAST_ITERATIONS
    while True:
        begun = process_time()
        kdf.pbkdf2(hash_name, bytes(16), bytes(32), count, length)
        taken = process_time() - begun
        if taken >= TRIAL or count >= limits.PBKDF2_ITERATIONS:
            break
        count = count * 2 if taken < TRIAL / 8 else int(count * TRIAL / taken * 1.2)
    wanted = int(count / max(taken, 1e-6) * milliseconds / 1000)
    if wanted > limits.PBKDF2_ITERATIONS:
        text = f"PBKDF iterations {wanted} larger than {limits.PBKDF2_ITERATIONS}"
        raise FormatError(text, kind=ErrorKind.LIMIT)
    return max(wanted, LEAST_ITERATIONS)


def argon2(name: str, params: Mapping[str, Any], length: int, milliseconds: int) -> dict[str, Any]:
    """Passes and memory of Argon2 that take so long: four passes over as much memory as fits, at most `memory` (KiB) of
    the params; more passes where that much is too little."""
    lanes = params["lanes"]
    least = max(LEAST_MEMORY, kdf.LEAST_MEMORY * lanes)
    most = max(least, params["memory"])
    trial = {"iterations": 1, "memory": max(least, min(most, TRIAL_MEMORY)), "lanes": lanes}
    done, begun = 0, process_time()
    while not done or process_time() - begun < TRIAL:
        kdf.argon2(name, bytes(16), bytes(32), trial, length)
        done += 1
    each = (process_time() - begun) / done / trial["memory"]
    affordable = int(milliseconds / 1000 / max(each, 1e-12))
    memory = max(least, min(most, affordable // LEAST_PASSES))
    return {"iterations": min(MOST, max(LEAST_PASSES, affordable // memory)), "memory": memory, "lanes": lanes}
