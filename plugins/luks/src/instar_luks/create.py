"""A new volume of either version: what it is to be, the key slot that it needs, and the edits that make it."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import make as make1
from instar_core.luks1 import options as luks1
from instar_core.luks1.layout import HEADER_SIZE
from instar_core.types import Coding, Copy, Geometry, Put, Reserve, Truncate
from instar_luks import limits
from instar_luks.luks2 import choices as luks2
from instar_luks.luks2 import make as make2
from instar_luks.luks2.layout import NEW_OFFSET, SECTOR_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NamedTuple

    from instar_core.luks1.options import Choice
    from instar_core.types import Create, Edit, KeyPlan, Run
    from instar_luks.luks2.choices import Choice2
else:
    from instar_core.record import NamedTuple

UNIT = 64 << 10


class Wanted(NamedTuple):
    """The new volume; `second` is there for version 2. `offset` is that of the payload, `apart` that it has none."""

    choice: Choice
    second: Choice2 | None
    offset: int
    apart: bool


def wanted(request: Create) -> Wanted:
    """What the options say. Raises FormatError (USAGE, UNSUPPORTED)."""
    values = request.options
    choice = luks1.choose(values)
    apart = bool(values.get("detached-header"))
    version = values.get("version")
    if request.compress:
        raise FormatError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    if version in (None, 1):
        for name in luks2.OPTIONS:
            if values.get(name) is not None:
                raise FormatError(f"Parameter '{name}' needs version=2", kind=ErrorKind.USAGE)
        return Wanted(choice, None, 0 if apart else make1.size(choice.key_size), apart)
    if version != 2:
        raise FormatError(f"Parameter 'version' does not accept value '{version}'", kind=ErrorKind.USAGE)
    second = luks2.choose(values, choice.hash, choice.time)
    return Wanted(choice, second, 0 if apart else NEW_OFFSET, apart)


def order(request: Create) -> KeyPlan:
    """The key plan of the new volume, still to be filled."""
    found = wanted(request)
    return make1.order(found.choice) if found.second is None else make2.order(found.choice, found.second)


def edits(request: Create, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The volume: its size, its content, and when that is there the key slots and the header."""
    found = wanted(request)
    plan = request.keys
    if plan is None:
        raise FormatError("Parameter 'key-secret' is required for cipher", kind=ErrorKind.USAGE)
    cipher = _coding(plan, found)
    size = -(-request.size // cipher.unit) * cipher.unit if found.second else request.size
    header = make1.size(plan.key_size) if found.second is None else NEW_OFFSET
    if found.offset + size > limits.FILE:
        raise FormatError("The requested file size is too large", kind=ErrorKind.LIMIT)
    yield Geometry(UNIT, 0 if found.apart else size, overhead=header, full=True, cipher=cipher)
    # What an existing target begins with is no LUKS volume from here on until all else is there.
    yield Put(0, bytes(HEADER_SIZE))
    total = header if found.apart else found.offset + size
    yield Truncate(total)
    how = request.options.get("preallocation")
    if how in ("falloc", "full"):
        yield Reserve(0, total, how)
    for run in runs:
        if found.apart:
            raise FormatError("a detached header holds no content", kind=ErrorKind.USAGE)
        yield Copy(run.start, found.offset + run.start, run.length)
    if found.second is None:
        yield from make1.edits(plan, request.entropy, payload_offset=found.offset)
    else:
        yield from make2.edits(plan, found.second, request.entropy, payload_offset=found.offset)


def _coding(plan: KeyPlan, found: Wanted) -> Coding:
    if found.second is None:
        return make1.coding(plan)
    params = {"cipher": plan.cipher, "key_size": plan.key_size, "iv_base": 0}
    unit = found.second.sector_size
    if unit != SECTOR_SIZE:
        params["iv_step"] = unit // SECTOR_SIZE
    return Coding("cipher", unit=unit, whole=False, params=params)
