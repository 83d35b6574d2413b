"""The conformance kit: the laws that every format plugin keeps, as a test class.

    from instar_core.testing import FormatConformance

    class TestToy(FormatConformance):
        format = "toy"

It needs pytest (the extra instar[testing]) and nothing else, and is loaded only where it is imported.
"""

from __future__ import annotations

from instar_core.testing.budget import Budget, OverBudget
from instar_core.testing.conformance import FormatConformance
from instar_core.testing.law import Broken
from instar_core.testing.subject import Subject

__all__ = ["FormatConformance", "Budget", "OverBudget", "Broken", "Subject"]
