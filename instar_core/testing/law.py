"""A law that a format breaks, said in one sentence."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

NEEDS = "_instar_needs"


class Broken(AssertionError):
    """The format under test breaks a law of the contract."""


def holds(condition: object, text: str) -> None:
    """The condition is true. Raises Broken with the text otherwise; python -O does not take this away."""
    if not condition:
        raise Broken(text)


def needs(*capabilities: str) -> Callable[[F], F]:
    """Marks a law that applies only to formats with all of these capabilities."""

    def mark(law: F) -> F:
        setattr(law, NEEDS, frozenset(capabilities))
        return law

    return mark
