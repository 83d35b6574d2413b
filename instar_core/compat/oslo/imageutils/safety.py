"""Safety checks by name, and what they raise."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self

LOG = logging.getLogger("instar_core.compat.oslo.imageutils.format_inspector")


class ImageFormatError(Exception):
    """The stream cannot be what it is taken for, or cannot be judged."""


class SafetyViolation(Exception):
    """One safety check failed. `check` is that check, once it ran as one of an inspector's."""

    check: SafetyCheck | None = None


class SafetyCheckFailed(Exception):
    """Safety checks failed: `failures` has the SafetyViolation of each by its name."""

    def __init__(self, failures: Mapping[str, Any]) -> None:
        super().__init__(f"Safety checks failed: {','.join(failures)}")
        self.failures = failures


class SafetyCheck:
    """A check with a name: `target_fn` raises SafetyViolation if it fails."""

    def __init__(self, name: str, target_fn: Callable[[], None], description: str | None = None) -> None:
        self.name = name
        self.target_fn = target_fn
        self.description = description

    def __call__(self) -> None:
        """Nothing, if the check passes. Raises SafetyViolation, also where the check itself breaks, and
        SafetyCheckFailed for checks within it."""
        try:
            self.target_fn()
        except (SafetyViolation, SafetyCheckFailed):
            raise
        except Exception as error:
            LOG.error("Safety check %s could not be run: %s", self.name, error)
            raise SafetyViolation("Unexpected error") from error

    @classmethod
    def null(cls) -> Self:
        """The check that always passes, for formats in which there is nothing to check."""
        return cls("null", lambda: None, "This file format has no meaningful safety check")

    @classmethod
    def banned(cls) -> Self:
        """The check that never passes, for formats that are recognised and never allowed."""

        def fail() -> None:
            raise SafetyViolation("This file format is not allowed")

        return cls("banned", fail, "This file format is not allowed")
