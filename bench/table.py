"""The results as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare import Result

HEAD = ("case", "qemu-img", "instar", "ratio", "pairs", "cpu", "jail", "load")
MIB = 1 << 20


def lines(results: list[Result]) -> list[str]:
    """A table: what both took, the ratio of medians, the median ratio of pairs, that of processor time, the ratio to
    jailed processes, the load."""
    return aligned([HEAD, *(row(result) for result in results)])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows below their head; of those with two cells only the second goes its own way."""
    widths = [max(len(cells[column]) for cells in rows if len(cells) > 2) for column in range(len(rows[0]))]
    widths[0] = max(len(cells[0]) for cells in rows)
    made = []
    for cells in rows:
        aligned = [text.rjust(width) for text, width in zip(cells, widths, strict=False)]
        rest = cells[1:] if len(cells) == 2 else aligned[1:]
        made.append("  ".join([cells[0].ljust(widths[0]), *rest]).rstrip())
    return [made[0], "-" * len(made[0]), *made[1:]]


def row(result: Result) -> tuple[str, ...]:
    """The cells of one result; two where there is only trouble to tell."""
    name = f"{result.case} ({result.sandbox})" if result.sandbox not in ("", "process") else result.case
    if result.trouble:
        return name, result.trouble
    show = amount if result.unit == "bytes" else duration
    about = "" if result.exact else "<="
    return (
        name,
        show(result.theirs),
        about + show(result.ours),
        f"{result.ratio:.2f}",
        f"{result.pairs:.2f}",
        f"{result.cpu:.2f}" if result.cpu else "",
        f"{result.jail:.2f}" if result.jail else "",
        f"{result.load[0]:.1f}-{result.load[1]:.1f}",
    )


def duration(seconds: float) -> str:
    """Milliseconds below a second, else seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def amount(size: float) -> str:
    """MiB."""
    return f"{size / MIB:.1f} MiB"
