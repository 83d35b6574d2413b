"""Settings come from files, environment and command line, the later over the earlier."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_core.cli import extras, settings_load
from instar_core.errors import UsageError
from instar_core.policy import PRESETS
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


@pytest.mark.parametrize(
    ("name", "floor", "wanted", "by_file", "by_environment"),
    [
        ("image-policy", None, "qemu", False, True),
        ("image-policy", None, "openstack", True, True),
        ("image-policy", None, "strict", True, True),
        ("image-policy", "openstack", "default", False, False),
        ("image-policy", "openstack", "untrusted", True, True),
        ("image-policy", "qemu", "default", True, True),
        ("unsafe-quirks", None, "on", False, True),
        ("unsafe-quirks", "off", "on", False, False),
        ("unsafe-quirks", "on", "off", True, True),
        ("ignore-quirks", "off", "on", True, True),
        ("timeout", None, "600", True, True),
        ("timeout", "60", "61", False, False),
        ("timeout", "60", "59", True, True),
        ("roots", None, ["/srv"], False, None),
        ("roots", ["/srv"], ["/srv/a", "/srv"], True, None),
        ("roots", ["/srv"], ["/srv2"], False, None),
        ("roots", ["/srv"], ["/srv/a", "/"], False, None),
        ("roots", ["/srv"], [], False, None),
        ("roots", ["/"], ["/srv"], True, None),
    ],
)
def test_root_is_allowed_no_more_by_a_users_file_than_by_the_systems(
    places: tuple[Path, Path, dict[str, str]],
    name: str,
    floor: str | list[str] | None,
    wanted: str | list[str],
    by_file: bool,
    by_environment: bool | None,
) -> None:
    """The file may be another user's; of the environment the same is true where the system's file says anything."""
    system, user, environment = places

    def written(value: str | list[str]) -> str:
        return f"{name} = {value if isinstance(value, list) else repr(value)}\n"

    if floor is not None:
        system.write_text(written(floor))
    user.write_text(written(wanted))
    assert load(system, environment, root=False)[name].origin == str(user)
    if by_file:
        assert load(system, environment, root=True)[name].origin == str(user)
    else:
        with pytest.raises(UsageError, match=f"{user} asks for {name} .*for root only .* may do that"):
            load(system, environment, root=True)
    user.unlink()
    if by_environment is None:
        return
    variable = "INSTAR_" + name.upper().replace("-", "_")
    given = {**environment, variable: str(wanted)}
    assert load(system, given, root=False)[name].origin == variable
    if by_environment:
        assert load(system, given, root=True)[name].origin == variable
    else:
        with pytest.raises(UsageError, match=f"{variable} asks for {name} .*for root only .* may do that"):
            load(system, given, root=True)


def test_every_policy_has_its_place_among_the_others() -> None:
    assert settings_load.POLICIES.keys() == PRESETS.keys() == set(extras.POLICIES)


def test_there_is_no_user_file_without_a_home() -> None:
    assert settings_load.user_file({}) is None
    assert settings_load.user_file({"HOME": "/h"}) == "/h/.config/instar.toml"
    assert settings_load.user_file({"HOME": "/h", "XDG_CONFIG_HOME": "here"}) == "/h/.config/instar.toml"
