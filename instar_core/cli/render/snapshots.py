"""The table of internal snapshots."""

from __future__ import annotations

from instar_core.cli.output import encoded
from instar_core.cli.printable import printable
from instar_core.cli.sizes import human_size, signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from instar_core.types import Snapshot

NANO: Final = 10**9


def table(snapshots: Iterable[Snapshot], *, plain: bool = False) -> list[str]:
    """A heading and a line for each snapshot, dates in local time. Columns are counted in bytes, as printf does."""
    lines = [_row("ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT")]
    for each in snapshots:
        lines.append(
            _row(
                printable(each.id),
                printable(each.name),
                human_size(each.state_size, plain=plain),
                _date(each.seconds),
                _clock(each.clock),
                "--" if each.icount is None else str(signed(each.icount)),
            )
        )
    return lines


def _row(number: str, tag: str, size: str, date: str, clock: str, icount: str) -> str:
    return f"{_wide(number, 7)} {_wide(tag, 16)} {size:>8} {date:>19} {clock:>15} {icount:>10}"


def _wide(text: str, columns: int) -> str:
    return text + " " * (columns - len(encoded(text)))


def _date(seconds: int) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a year that the system's calendar does not reach
        return str(seconds)


def _clock(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANO)
    hours, seconds = divmod(seconds, 3600)
    return f"{hours:04d}:{seconds // 60:02d}:{seconds % 60:02d}.{rest // 1_000_000:03d}"
