"""The plugin contract only grows, and what changes about its hooks stands in the changelog."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from instar_core import hookspecs, types

ROOT = Path(__file__).parents[1]
CONTRACT = tomllib.loads(Path(__file__).with_name("contract.toml").read_text())


def records() -> dict[str, type]:
    """Every record of the contract, by name."""
    return {name: value for name, value in vars(types).items() if hasattr(value, "_fields") and value._fields}


def signature(hook: str) -> str:
    return f"{hook}({', '.join(inspect.signature(getattr(hookspecs, hook)).parameters)})"


@pytest.mark.parametrize("hook", CONTRACT["hooks"])
def test_a_hook_has_the_arguments_it_always_had(hook: str) -> None:
    assert list(inspect.signature(getattr(hookspecs, hook)).parameters) == CONTRACT["hooks"][hook]


def test_every_hook_is_recorded() -> None:
    assert set(hookspecs.HOOKS) == set(CONTRACT["hooks"])


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_the_changelog_names_a_hook_with_its_present_arguments(hook: str) -> None:
    """So that no signature changes without a line there."""
    assert f"`{signature(hook)}`" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", [name for name, fields in CONTRACT["records"].items() if fields])
def test_a_record_keeps_its_fields_and_what_was_added_has_a_default(name: str) -> None:
    known, found = CONTRACT["records"][name], records()[name]
    fields = list(found._fields)  # type: ignore[attr-defined]
    assert fields[: len(known)] == known
    assert set(fields[len(known) :]) <= set(found._field_defaults)  # type: ignore[attr-defined]


def test_every_record_is_recorded() -> None:
    assert set(records()) <= set(CONTRACT["records"])
