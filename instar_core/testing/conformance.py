"""The conformance kit as one class."""

from __future__ import annotations

from instar_core.testing.contract import ContractLaws
from instar_core.testing.mapping import CheckLaws, MappingLaws
from instar_core.testing.places import PlaceLaws
from instar_core.testing.totality import TotalityLaws
from instar_core.testing.writing import WritingLaws


class FormatConformance(ContractLaws, TotalityLaws, MappingLaws, CheckLaws, WritingLaws, PlaceLaws):
    """Every law that applies to a format, chosen by the capabilities that its specification claims.

    Subclass it in a test module, with `format` set:

        class TestToy(FormatConformance):
            format = "toy"

    What may be overridden stands in instar_core.testing.laws.Laws. Names of laws do not move; a minor release may
    add laws.
    """
