"""What the options of a new LUKS2 volume mean."""

from __future__ import annotations

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_luks.luks2.layout import SECTOR_SIZE, SECTOR_SIZES
from instar_luks.luks2.metadata import ARGON2, PBKDF2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple

OPTIONS = (
    "pbkdf",
    "pbkdf-memory",
    "pbkdf-parallel",
    "pbkdf-force-iterations",
    "sector-size",
    "label",
    "subsystem",
)
KDF = "argon2id"
LANES = 4
"""Of Argon2, as cryptsetup has it."""
MEMORY = 1 << 20
"""KiB of Argon2, as cryptsetup has it."""
LEAST_MEMORY = 32
LEAST_PASSES = 4
LEAST_ITERATIONS = 1000
TEXT = 47
"""Bytes of a label."""


class Choice2(NamedTuple):
    """The key derivation with its params (see KeySlot), the bytes of a sector, and the labels."""

    kdf: str
    params: dict[str, Any]
    sector_size: int
    label: bytes
    subsystem: bytes


def choose(values: Mapping[str, Any], hash_name: str, time: int) -> Choice2:
    """What they mean; those that are not there or None have their defaults. Raises FormatError (USAGE)."""
    kdf = _or(values.get("pbkdf"), KDF)
    if kdf not in (*ARGON2, PBKDF2):
        raise _usage(f"Parameter 'pbkdf' does not accept value '{kdf}'")
    sector_size = _or(values.get("sector-size"), SECTOR_SIZE)
    if sector_size not in SECTOR_SIZES:
        raise _usage(f"Parameter 'sector-size' does not accept value '{sector_size}'")
    params: dict[str, Any] = {"time": time}
    forced = values.get("pbkdf-force-iterations")
    if forced is not None:
        least = LEAST_ITERATIONS if kdf == PBKDF2 else LEAST_PASSES
        if not least <= forced <= limits.PBKDF2_ITERATIONS:
            raise _usage(f"Parameter 'pbkdf-force-iterations' expects {least} to {limits.PBKDF2_ITERATIONS}")
        params["iterations"] = forced
    memory, lanes = values.get("pbkdf-memory"), values.get("pbkdf-parallel")
    if kdf == PBKDF2:
        if memory is not None or lanes is not None:
            raise _usage("pbkdf2 takes neither 'pbkdf-memory' nor 'pbkdf-parallel'")
        params["hash"] = hash_name
    else:
        params.update(_argon2(_or(memory, MEMORY), _or(lanes, LANES), params))
    return Choice2(kdf, params, sector_size, _label(values, "label"), _label(values, "subsystem"))


def _argon2(memory: int, lanes: int, params: Mapping[str, Any]) -> dict[str, int]:
    most = limits.ARGON2_MEMORY // limits.KIB
    if not 1 <= lanes <= limits.ARGON2_LANES:
        raise _usage(f"Parameter 'pbkdf-parallel' expects 1 to {limits.ARGON2_LANES}")
    if not max(LEAST_MEMORY, 8 * lanes) <= memory <= most:
        raise _usage(f"Parameter 'pbkdf-memory' expects {max(LEAST_MEMORY, 8 * lanes)} to {most}")
    if params.get("iterations", 0) * memory > limits.ARGON2_WORK:
        raise _usage(f"{params['iterations']} passes over {memory} KiB are more than would be tried")
    return {"memory": memory, "lanes": lanes}


def _label(values: Mapping[str, Any], name: str) -> bytes:
    text: bytes = _or(values.get(name), "").encode("utf-8", "surrogateescape")
    if len(text) > TEXT or b"\0" in text:
        raise _usage(f"Parameter '{name}' expects at most {TEXT} bytes")
    return text


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _usage(message: str) -> FormatError:
    return FormatError(message, kind=ErrorKind.USAGE)
