"""What random histories have found: each a case of its own."""

from __future__ import annotations

import pytest

from instar_core.types import Severity


@pytest.mark.oracle
def test_a_check_tells_what_it_finds_where_qemu_only_counts(tmp_path, builder, programs):
    """quirk("qed-findings")"""
    from instar_qed import hooks

    from instar_core.source import Image, bytes_source

    data = builder.build(1 << 20, {0: builder.DATA, 3: builder.DATA}, features=builder.NEED_CHECK)
    path = tmp_path / "not-closed.qed"
    path.write_bytes(data)
    said = programs.img("check", "-f", "qed", path)
    assert (said.returncode, said.stderr) == (0, b"")
    *found, _ = hooks.instar_check(Image([bytes_source(data)]))
    assert [(one.severity, one.text) for one in found] == [
        (Severity.NOTE, "The image was not closed: it needs a check")
    ]
