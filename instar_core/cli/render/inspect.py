"""Verdicts as text."""

from __future__ import annotations

from instar_core.cli import jsontext
from instar_core.cli.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.errors import InstarError
    from instar_core.verdict.answer import Reason, Verdict

ACCEPT, REFUSE, ERROR = "accept", "refuse", "error"


def line(verdict: Verdict) -> str:
    """One line of JSON. Keys whose value is not known are left out."""
    made: dict[str, Any] = {
        "filename": verdict.filename,
        "verdict": ACCEPT if verdict.accepted else REFUSE,
        "policy": verdict.policy,
        "format": verdict.format,
        "declared-format": verdict.declared,
        "virtual-size": verdict.virtual_size,
        "stored-size": verdict.stored,
        "actual-size": verdict.allocated,
        "content-size": verdict.content,
        "evidence": verdict.evidence or None,
        "create-type": verdict.subformat or None,
        "chain": verdict.chain,
        "checked": verdict.checked,
        "reasons": [_reason(reason) for reason in verdict.reasons],
    }
    return _object(made)


def _reason(reason: Reason) -> dict[str, Any]:
    made: dict[str, Any] = {
        "code": reason.code,
        "reason": reason.text,
        "filename": reason.filename or None,
        "offset": reason.offset,
        "value": reason.value,
        "limit": reason.limit,
    }
    return {key: value for key, value in made.items() if value is not None}


def failed_line(name: str, policy: str, error: InstarError) -> str:
    """The line for an image that could not be looked at."""
    return _object(
        {
            "filename": name,
            "verdict": ERROR,
            "policy": policy,
            "error": error.message,
            "kind": error.kind,
            "reasons": [],
        }
    )


def _object(made: dict[str, Any]) -> str:
    """The verdict first: the order of keys is for people, who read these lines too."""
    return (
        "{" + ", ".join(f'"{key}": {jsontext.line(value)}' for key, value in made.items() if value is not None) + "}\n"
    )


def human(verdict: Verdict) -> str:
    """Sentences for people."""
    what = f" ({verdict.format})" if verdict.format else ""
    lines = [
        f"{printable(verdict.filename)}{what}: {ACCEPT if verdict.accepted else REFUSE} by {printable(verdict.policy)}"
    ]
    for reason in verdict.reasons:
        where = f" [{printable(reason.filename)}]" if reason.filename and reason.filename != verdict.filename else ""
        place = f" (at byte {reason.offset})" if reason.offset is not None else ""
        lines.append(f"    {reason.code}: {printable(reason.text)}{place}{where}")
    return "\n".join(lines) + "\n"


def failed_human(name: str, policy: str, error: InstarError) -> str:
    """The lines for an image that could not be looked at."""
    return f"{printable(name)}: {ERROR} by {printable(policy)}\n    {printable(error.message)}\n"
