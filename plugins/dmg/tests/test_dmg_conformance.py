"""The conformance kit over images that an independent builder makes."""

from __future__ import annotations

import pytest

from instar_core.testing import FormatConformance


class TestDmg(FormatConformance):
    format = "dmg"
    allowed_imports = ("lzfse", "xml")

    @pytest.fixture
    def corpus(self, tmp_path, several):
        made = []
        for name, arguments, how in (
            ("plist", {}, {}),
            ("resource fork", {}, {"rsrc": True}),
            ("data fork elsewhere", {"before": bytes(5000), "data_offset": 100}, {}),
        ):
            path = tmp_path / f"{name}.dmg"
            path.write_bytes(several(seed=len(made), **arguments).build(**how))
            made.append((name, path))
        return made
