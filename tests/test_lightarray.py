"""array comes without collections, and leaves everything as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = "from instar_core.lightarray import array; import sys; "
CODE = [
    LIGHT + "assert 'collections' not in sys.modules and 'collections.abc' not in sys.modules",
    LIGHT + "import collections.abc; assert issubclass(array, collections.abc.MutableSequence)",
    LIGHT + "import collections; assert collections.OrderedDict; from collections.abc import Sequence",
    LIGHT + "from collections import abc; import _collections_abc; assert abc.Mapping is _collections_abc.Mapping",
    "import collections.abc; before = collections.abc; " + LIGHT + "import collections.abc; "
    "assert collections.abc is before is sys.modules['collections.abc']",
    "import array as real; " + LIGHT + "assert real.array is array",
]


@pytest.mark.parametrize("code", CODE)
def test_whatever_is_imported_before_or_after(code: str) -> None:
    path = [entry for entry in sys.path if entry]
    bare = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}; {code}"]
    subprocess.run(bare, check=True, timeout=60)
