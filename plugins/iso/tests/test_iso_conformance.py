"""The conformance kit over iso, with volumes of genisoimage and of our own builder as its corpus."""

from __future__ import annotations

import shutil

import pytest

from instar_core.testing import FormatConformance

PRIMARY = 32768
FIELDS = (
    *((0, 1), (6, 1), (80, 4), (84, 4), (128, 2), (130, 2), (132, 4), (136, 4), (140, 4), (148, 4)),
    *((158, 4), (166, 4), (2048 + 71, 4)),
)
"""Of the primary volume descriptor and of the boot record behind it."""


class TestIso(FormatConformance):
    format = "iso"
    hostile_fields = tuple((PRIMARY + at, width) for at, width in FIELDS)

    @pytest.fixture
    def corpus(self, builder, request):
        made = [("by hand", builder.image()), ("by hand, more behind it", builder.image(boot=False, trailing=700))]
        if shutil.which("genisoimage"):
            volumes = request.getfixturevalue("volumes")
            made += [(f"{name}, by genisoimage", path) for name, path in volumes.items()]
        return made
