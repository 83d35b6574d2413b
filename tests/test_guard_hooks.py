"""Every hook of the contract is documented and tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_core import hookspecs

ROOT = Path(__file__).parents[1]


def test_the_list_of_hooks_is_complete():
    marked = {name for name, value in vars(hookspecs).items() if hasattr(value, hookspecs.PROJECT + "_spec")}
    assert set(hookspecs.HOOKS) == marked


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_a_hook_says_what_it_answers(hook):
    assert (getattr(hookspecs, hook).__doc__ or "").strip()


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_a_hook_is_described_for_writers_of_plugins(hook):
    assert hook in (ROOT / "docs" / "plugins.md").read_text()


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_a_hook_is_called_in_some_test(hook):
    places = [ROOT / "tests", ROOT / "plugins", ROOT / "instar_core" / "testing"]
    sources = [path for place in places for path in place.rglob("*.py")]
    sources = [path for path in sources if path != Path(__file__) and "src" not in path.relative_to(ROOT).parts]
    assert any(hook in path.read_text() for path in sources)
