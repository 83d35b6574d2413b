"""The conformance kit over raw: the core's own format keeps the laws of all others."""

from __future__ import annotations

import pytest

from instar_core.testing import FormatConformance


class TestRaw(FormatConformance):
    format = "raw"

    @pytest.fixture
    def corpus(self):
        return (("a sector and a half", b"x" * 768), ("one byte", b"x"), ("nothing", b""))
