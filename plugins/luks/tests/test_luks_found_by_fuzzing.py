"""What random histories have found: each a case of its own."""

from __future__ import annotations

import pytest

from instar_core.errors import ErrorKind, FormatError


@pytest.mark.parametrize("given", [{}, {"version": "2", "pbkdf": "pbkdf2"}])
def test_a_volume_whose_content_would_end_past_the_largest_file_is_refused_as_qemu_refuses_it(tmp_path, maker, given):
    with pytest.raises(FormatError, match=r"^The requested file size is too large$") as caught:
        maker.create(tmp_path / "volume", b"pw", (1 << 63) - 1024, **given)
    assert caught.value.kind == ErrorKind.LIMIT
