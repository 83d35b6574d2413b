"""What is compared with qemu-img needs one that is not too old."""

from __future__ import annotations

from pathlib import Path

from instar_core.testing import foreign


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)
