"""Settings come from files, environment and command line, the later over the earlier."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_core.cli import settings_load
from instar_core.errors import UsageError
from instar_core.settings import DEFAULTS


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, dict[str, str]]:
    (tmp_path / "home").mkdir()
    return tmp_path / "etc.toml", tmp_path / "home" / "instar.toml", {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def load(
    system: Path, environment: dict[str, str], *, root: bool = False, **flags: object
) -> dict[str, settings_load.Held]:
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    return settings_load.load(named, environment=environment, system=str(system), root=root)


def test_without_any_of_them_the_defaults_hold(places: tuple[Path, Path, dict[str, str]]) -> None:
    system, _, environment = places
    assert settings_load.settings(load(system, environment)) == DEFAULTS


def test_the_later_place_wins(places: tuple[Path, Path, dict[str, str]]) -> None:
    system, user, environment = places
    system.write_text('timeout = 10\nimage-policy = "ovirt"\nignore-quirks = true\nroots = ["/srv"]\n')
    user.write_text('timeout = 20\nimage-policy = "strict"\n')
    environment["INSTAR_IMAGE_POLICY"] = "proxmox"
    held = load(system, environment, sandbox="inline")
    assert held["timeout"] == (20.0, str(user))
    assert held["image-policy"] == ("proxmox", "INSTAR_IMAGE_POLICY")
    assert held["ignore-quirks"] == (True, str(system))
    assert held["sandbox"] == ("inline", "--sandbox")
    made = settings_load.settings(held, force_share=True)
    assert (made.roots, made.policy, made.timeout, made.sandbox) == (("/srv",), "proxmox", 20.0, "inline")
    assert made.force_share


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timeout = ", "etc.toml"),
        ("colour = 1", "unknown setting 'colour'"),
        ('sandbox = "none"', "sandbox expects auto, kvm, process or inline, not 'none'"),
        ("timeout = -1", "timeout expects a number of seconds"),
        ('roots = ["here"]', "roots expects a list of absolute paths"),
        ("sandbox = [1]", "sandbox expects a single value"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(
    places: tuple[Path, Path, dict[str, str]], text: str, message: str
) -> None:
    system, _, environment = places
    system.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(system, environment)
    assert message in caught.value.message
    assert str(system) in caught.value.message


@pytest.mark.parametrize(
    ("name", "text"),
    [("UNSAFE_QUIRKS", "perhaps"), ("TIMEOUT", "soon"), ("TIMEOUT", "nan"), ("SANDBOX", "x"), ("IMAGE_POLICY", "x")],
)
def test_a_wrong_variable_is_an_error_that_names_it(
    places: tuple[Path, Path, dict[str, str]], name: str, text: str
) -> None:
    system, _, environment = places
    with pytest.raises(UsageError, match=f"INSTAR_{name}"):
        load(system, {**environment, f"INSTAR_{name}": text})


@pytest.mark.parametrize(("text", "truth"), [("1", True), ("yes", True), ("on", True), ("0", False), ("", False)])
def test_truths_in_the_environment_have_the_usual_spellings(
    places: tuple[Path, Path, dict[str, str]], text: str, truth: bool
) -> None:
    system, _, environment = places
    held = load(system, {**environment, "INSTAR_UNSAFE_QUIRKS": text})
    assert held["unsafe-quirks"].value is truth


@pytest.mark.parametrize(
    ("floor", "wanted", "allowed"),
    [
        (None, "inline", False),
        (None, "process", True),
        (None, "kvm", True),
        ("kvm", "process", False),
        ("kvm", "auto", False),
        ("inline", "process", True),
        ("inline", "inline", True),
    ],
)
def test_roots_environment_can_only_tighten_the_sandbox(
    places: tuple[Path, Path, dict[str, str]], floor: str | None, wanted: str, allowed: bool
) -> None:
    system, user, environment = places
    if floor:
        system.write_text(f'sandbox = "{floor}"\n')
    changed = {**environment, "INSTAR_SANDBOX": wanted}
    assert load(system, changed, root=False)["sandbox"].value == wanted
    if allowed:
        assert load(system, changed, root=True)["sandbox"].value == wanted
    else:
        with pytest.raises(UsageError, match="only the command line may"):
            load(system, changed, root=True)
        user.write_text(f'sandbox = "{wanted}"\n')
        with pytest.raises(UsageError, match="only the command line may"):
            load(system, environment, root=True)
    assert load(system, environment if allowed else {}, root=True, sandbox=wanted)["sandbox"].value == wanted


def test_there_is_no_user_file_without_a_home() -> None:
    assert settings_load.user_file({}) is None
    assert settings_load.user_file({"HOME": "/h"}) == "/h/.config/instar.toml"
    assert settings_load.user_file({"HOME": "/h", "XDG_CONFIG_HOME": "here"}) == "/h/.config/instar.toml"
