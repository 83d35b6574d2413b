"""What random histories have found: each a case of its own."""

from __future__ import annotations

import pytest


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{}, {"block_size": 1 << 20}, {"subformat": "fixed"}])
def test_an_empty_disk_that_is_written_here_qemu_opens(options, tmp_path, host, programs):
    path = tmp_path / "empty.vhdx"
    host.create(path, 0, b"", **options)
    assert programs.answer("info", path)["virtual-size"] == 0
    assert programs.answer("check", path)["check-errors"] == 0
    with host.Opened(path) as opened:
        assert opened.info.virtual_size == 0
    assert path.stat().st_blocks * 512 < 8 << 20
