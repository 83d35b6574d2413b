"""The door: what a worker says is believed only if it passes here. It refuses; it never repairs or guesses.

Range errors (an extent outside its device) are the image's fault: FormatError. Shape errors (a gap, an overlap, a
value of the wrong type) are the plugin's: ContractViolation.
"""

from __future__ import annotations

from instar_core import limits
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.types import (
    Bitmap,
    Coding,
    Finding,
    Geometry,
    ImageInfo,
    KeyPlan,
    KeySlot,
    Match,
    NewFile,
    Reference,
    Role,
    Severity,
    Snapshot,
    Tally,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeVar

    from instar_core.partitions import Table

    R = TypeVar("R")

MAX = 1 << 64


def _number(value: Any) -> int:
    if type(value) is int and 0 <= value < MAX:
        return value
    raise ContractViolation(f"a number was wanted, not {value!r:.60}")


def _signed(value: Any) -> int:
    if type(value) is int and -MAX < value < MAX:
        return value
    raise ContractViolation(f"a number was wanted, not {value!r:.60}")


def _text(value: Any) -> str:
    if type(value) is str and len(value) <= limits.NAME * 4:
        return value
    raise ContractViolation("a short text was wanted")


def _octets(value: Any) -> bytes:
    if type(value) is bytes and len(value) <= limits.PUT:
        return value
    raise ContractViolation("bytes were wanted")


def _name(value: Any) -> bytes:
    if type(value) is not bytes:
        raise ContractViolation("a file name in bytes was wanted")
    if len(value) > limits.NAME:
        raise FormatError(f"a file name of {len(value)} bytes is too long", kind=ErrorKind.LIMIT)
    if b"\0" in value:
        raise FormatError("a file name holds a zero byte")
    return value


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise ContractViolation("true or false was wanted")


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is dict:
        return value
    raise ContractViolation("named values were wanted")


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _many(check: Callable[[Any], Any], most: int, what: str) -> Callable[[Any], tuple[Any, ...]]:
    def checked(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple:
            raise ContractViolation(f"several {what} were wanted")
        if len(value) > most:
            raise FormatError(f"{len(value)} {what} are more than {most}", kind=ErrorKind.LIMIT)
        return tuple([check(item) for item in value])

    return checked


def _record(cls: type[R], checks: Sequence[Callable[[Any], Any]]) -> Callable[[Any], R]:
    def checked(value: Any) -> R:
        if type(value) is not tuple or len(value) != len(checks):
            raise ContractViolation(f"a {cls.__name__} was wanted")
        return cls._make([check(item) for check, item in zip(checks, value, strict=True)])  # type: ignore[attr-defined, no-any-return]

    return checked


def _role(value: Any) -> str:
    if value in (Role.BACKING, Role.DATA, Role.EXTENT):
        return value  # type: ignore[no-any-return]
    raise ContractViolation("a reference has a role that does not exist")


def _severity(value: Any) -> int:
    if value in (Severity.NOTE, Severity.LEAK, Severity.CORRUPTION):
        return value  # type: ignore[no-any-return]
    raise ContractViolation("a finding has a severity that does not exist")


def _unit(value: Any) -> int:
    if type(value) is int and 0 < value <= limits.UNIT:
        return value
    raise ContractViolation(f"a unit of {value!r:.40} bytes is not possible")


_coding = _record(Coding, (_text, _unit, _truth, _mapping))
_image_info = _record(
    ImageInfo,
    (
        _text,
        _number,
        _number,
        _many(_record(Reference, (_role, _name, _optional(_text), _mapping)), limits.REFERENCES, "references"),
        _many(_coding, limits.CODINGS, "codings"),
        _many(
            _record(Snapshot, (_text, _text, _number, _number, _number, _number, _optional(_number), _number)),
            limits.SNAPSHOTS,
            "snapshots",
        ),
        _many(_record(Bitmap, (_text, _number, _many(_text, 8, "flags"))), limits.BITMAPS, "bitmaps"),
        _truth,
        _optional(_truth),
        _truth,
        _text,
        _mapping,
        _mapping,
    ),
)
_geometry = _record(
    Geometry,
    (
        _unit,
        _number,
        _truth,
        _optional(_coding),
        _truth,
        _number,
        _many(_record(NewFile, (_name, _number, _truth)), limits.REFERENCES, "files"),
        _truth,
        _number,
        _optional(_coding),
    ),
)
_finding = _record(Finding, (_severity, _text, _signed, _number, _truth))
_tally = _record(Tally, (_number,) * 6)
_slot = _record(KeySlot, (_number, _text, _mapping, _octets, _number, _number, _number, _text, _text))
_key_plan = _record(
    KeyPlan, (_text, _number, _many(_slot, 32, "key slots"), _many(_octets, 32, "key materials"), _mapping)
)
match = _record(Match, (_text, _number, _text))


def partitions(value: Any) -> Table:
    """The partition table that `value` is."""
    from instar_core.partitions import ENTRIES, Table

    problem = _many(lambda pair: (_text(pair[0]), _number(pair[1])), 4 * ENTRIES + 16, "problems")
    found = _record(Table, (_text, _truth, lambda value: value))(value)
    if type(found.problems) is not tuple or not all(type(each) is tuple and len(each) == 2 for each in found.problems):
        raise ContractViolation("the problems of a partition table were wanted")
    return found._replace(problems=problem(found.problems))


def image_info(value: Any, name: str) -> ImageInfo:
    """The ImageInfo that `value` is, of the format `name`, with a virtual size that can exist."""
    info = _image_info(value)
    if info.format != name:
        raise ContractViolation(f"the plugin {name} answered for the format {info.format:.40}")
    if info.virtual_size > limits.VIRTUAL_SIZE:
        raise FormatError(f"a virtual size of {info.virtual_size} bytes is too large", kind=ErrorKind.LIMIT)
    return info


def geometry(value: Any) -> Geometry:
    """The Geometry that `value` is."""
    made = _geometry(value)
    if made.size > limits.VIRTUAL_SIZE:
        raise ContractViolation(f"a virtual size of {made.size} bytes is too large")
    return made


def key_plan(value: Any) -> KeyPlan:
    """The KeyPlan that `value` is, with one material for each slot."""
    plan = _key_plan(value)
    if len(plan.slots) != len(plan.material):
        raise ContractViolation("a key plan has not one key material for each slot")
    return plan


def key_order(value: Any) -> KeyPlan:
    """The KeyPlan that `value` is, which is still to be filled: without material."""
    plan = _key_plan(value)
    if plan.material:
        raise ContractViolation("a key plan that is to be filled has key material")
    return plan


def findings(value: Any) -> Iterator[Finding | Tally]:
    """The findings and tally of a batch."""
    if type(value) is not tuple:
        raise ContractViolation("findings were wanted")
    for item in value:
        if type(item) is not tuple or len(item) != 2:
            raise ContractViolation("a finding was wanted")
        name, fields = item
        if name == "Finding":
            yield _finding(fields)
        elif name == "Tally":
            yield _tally(fields)
        else:
            raise ContractViolation("a check said something that is neither finding nor tally")
