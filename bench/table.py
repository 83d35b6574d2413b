"""The results as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare import Result

HEAD = ("case", "qemu-img", "instar", "ratio", "aim", "pairs", "best", "cpu", "size", "MiB", "MiB", "jail", "load")
WIDTHS = (0, 9, 9, 6, 4, 6, 6, 6, 5, 5, 6, 5, 9)
MIB = 1 << 20


class Lines:
    """The lines of a table, each made as soon as its result is there: `names` are those that will come."""

    def __init__(self, names: Sequence[str]) -> None:
        self._widths = (max(len(name) for name in (*names, HEAD[0])), *WIDTHS[1:])

    def head(self) -> list[str]:
        """The first two lines."""
        words = _spread(HEAD, self._widths)
        return [words, "-" * len(words)]

    def line(self, result: Result) -> str:
        """What both took, the ratio of medians and what it is to be, the median ratio of pairs, the ratio of the
        shortest runs, that of processor time, that of the outputs' sizes, memory of both, the ratio to jailed
        processes, the load."""
        return _spread(row(result), self._widths)


def titled(case: str, sandbox: str) -> str:
    """How a case is called in the table."""
    return f"{case} ({sandbox})" if sandbox not in ("", "process") else case


def row(result: Result) -> tuple[str, ...]:
    """The cells of one result; two where there is only something to tell."""
    name = titled(result.case, result.sandbox)
    if result.trouble or result.skipped:
        return name, result.trouble or f"skipped: {result.skipped}"
    about = "" if result.exact else "<="
    ours, theirs = result.peaks
    return (
        name,
        duration(result.theirs),
        duration(result.ours),
        f"{result.ratio:.2f}",
        _ratio(result.aim),
        f"{result.pairs:.2f}",
        _ratio(result.best),
        _ratio(result.cpu),
        _ratio(result.size),
        f"{theirs / MIB:.0f}" if theirs else "",
        f"{about}{ours / MIB:.0f}" if ours else "",
        _ratio(result.jail),
        f"{result.load[0]:.1f}-{result.load[1]:.1f}",
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value else ""


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows below their head."""
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    made = [_spread(cells, widths) for cells in rows]
    return [made[0], "-" * len(made[0]), *made[1:]]


def _spread(cells: tuple[str, ...], widths: Sequence[int]) -> str:
    """A line: the first cell to the left, the others to the right; of two the second goes its own way."""
    rest = (
        cells[1:]
        if len(cells) == 2
        else [text.rjust(width) for text, width in zip(cells[1:], widths[1:], strict=False)]
    )
    return "  ".join([cells[0].ljust(widths[0]), *rest]).rstrip()


def duration(seconds: float) -> str:
    """Milliseconds below a second, else seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def amount(size: float) -> str:
    """MiB."""
    return f"{size / MIB:.1f} MiB"
