"""Settings from where they may stand: /etc/instar.toml, the user's instar.toml, the environment, the command line.

A later place overrides an earlier one, with one exception: where the effective user is root, the user's file and the
environment can only tighten what the system's file says, or else the defaults. Where that file says nothing of quirks
and image policy, root's environment may: they decide about what the caller himself asked for. The user's file may not
even then, for it need not be root's (sudo can leave HOME as it was). The command line decides last.
"""

from __future__ import annotations

import os

from instar_core import limits
from instar_core.cli import extras
from instar_core.errors import UsageError
from instar_core.settings import DEFAULTS, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, NamedTuple
else:
    from instar_core.record import NamedTuple

SYSTEM: Final = "/etc/instar.toml"
STRENGTH: Final = {"inline": 0, "process": 1, "auto": 1, "kvm": 2}

POLICIES: Final = {"qemu": 0, "default": 1, "openstack": 2, "proxmox": 2, "ovirt": 2, "untrusted": 3, "strict": 3}
"""How much each image policy forbids."""


class Held(NamedTuple):
    """A setting: its value, and where that comes from."""

    value: Any
    origin: str


READERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "sandbox": ("sandbox", extras.sandbox),
    "image-policy": ("policy", extras.policy),
    "unsafe-quirks": ("unsafe_quirks", extras.truth),
    "ignore-quirks": ("ignore_quirks", extras.truth),
    "extra-detail": ("extra_detail", extras.truth),
    "compression": ("compression", extras.compression),
    "timeout": ("timeout", extras.seconds),
    "cpu-limit": ("cpu", extras.cpu),
    "memory-limit": ("memory", extras.memory),
}
"""Name in files and on the command line → (field of Settings, reader). INSTAR_NAME in the environment."""

SWITCHES: Final = ("unsafe-quirks", "ignore-quirks", "extra-detail")
"""Settings that are on or off: of these an empty variable counts as off, of the others as not set."""


def load(
    flags: Mapping[str, Any],
    *,
    qemu: bool = False,
    environment: Mapping[str, str] | None = None,
    system: str = SYSTEM,
    root: bool | None = None,
) -> dict[str, Held]:
    """Every setting by its name, with its origin. Raises UsageError that names the place of a wrong one."""
    environ = os.environ if environment is None else environment
    is_root = os.geteuid() == 0 if root is None else root
    held = {name: Held(getattr(DEFAULTS, field), "default") for name, (field, _) in READERS.items()}
    held["roots"] = Held((), "default")
    held.update(_file(system))
    floor = held["sandbox"]
    user = user_file(environ)
    later = _file(user) if user else {}
    for name, (_, read) in READERS.items():
        variable = "INSTAR_" + name.upper().replace("-", "_")
        text = environ.get(variable)
        if text is not None and (text or name in SWITCHES):
            try:
                later[name] = Held(read(text), variable)
            except ValueError as error:
                raise UsageError(f"{variable} {error}") from None
    chosen = later.get("sandbox")
    if is_root and chosen is not None and STRENGTH[chosen.value] < STRENGTH[floor.value]:
        raise UsageError(
            f"{chosen.origin} asks for the sandbox {chosen.value}, weaker than {floor.value} ({floor.origin}): "
            "for root only the command line may do that"
        )
    if is_root:
        _only_tighter(later, held, user)
    held.update(later)
    for name in READERS:
        if name in flags:
            held[name] = Held(flags[name], f"--{name}")
    held["called"] = Held("qemu-img" if qemu else "instar", "argv[0]")
    return held


def _only_tighter(later: Mapping[str, Held], held: Mapping[str, Held], user: str | None) -> None:
    """Raises UsageError where a later setting is looser than the system's; of limits, than what info has by default."""
    for name, usual in (("cpu-limit", limits.WORKER_CPU), ("memory-limit", limits.WORKER_MEMORY)):
        asked, floor = later.get(name), held[name]
        most = usual if floor.value is None else floor.value
        if asked is not None and asked.value is not None and asked.value > most:
            raise UsageError(
                f"{asked.origin} asks for a {name} of {asked.value}, more than {most} ({floor.origin}): "
                "for root only the command line may do that"
            )
    for name, looser in LOOSER.items():
        asked, floor = later.get(name), held[name]
        if asked is None or (asked.origin != user and floor.origin == "default"):
            continue
        if looser(asked.value, floor.value):
            raise UsageError(
                f"{asked.origin} asks for {name} {_shown(asked.value)}, which allows more than {_shown(floor.value)} "
                f"({floor.origin}): for root only {SYSTEM} and the command line may do that"
            )


def _looser_roots(asked: tuple[str, ...], floor: tuple[str, ...]) -> bool:
    """Whether one of the folders lies outside those of the floor. With none, what lies beside an image decides."""
    if not asked:
        return bool(floor)
    return not all(any(f"{root}/".startswith(f"{folder.rstrip('/')}/") for folder in floor) for root in asked)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(value) or "none" if isinstance(value, tuple) else str(value)


LOOSER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "image-policy": lambda asked, floor: POLICIES[asked] < POLICIES[floor],
    "unsafe-quirks": lambda asked, floor: asked and not floor,
    "timeout": lambda asked, floor: floor is not None and asked > floor,
    "roots": _looser_roots,
}
"""Name of a setting → whether its first value allows more than its second."""


def settings(held: Mapping[str, Held], *, force_share: bool = False) -> Settings:
    """The settings of an operation."""
    fields = {field: held[name].value for name, (field, _) in READERS.items()}
    return Settings(
        roots=held["roots"].value, qemu=held["called"].value == "qemu-img", force_share=force_share, **fields
    )


def user_file(environ: Mapping[str, str]) -> str | None:
    """Where the user's settings would stand; None without a home."""
    base = environ.get("XDG_CONFIG_HOME")
    if not base or not base.startswith("/"):
        home = environ.get("HOME")
        if not home:
            return None
        base = home + "/.config"
    return base + "/instar.toml"


def _file(path: str) -> dict[str, Held]:
    """The settings of a file; none where it does not exist."""
    try:
        os.stat(path)
    except OSError:
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    found: dict[str, Held] = {}
    for name, value in table.items():
        if name == "roots":
            if not isinstance(value, list) or not all(isinstance(each, str) and each.startswith("/") for each in value):
                raise UsageError(f"{path}: roots expects a list of absolute paths")
            found[name] = Held(tuple(value), path)
        elif name in READERS:
            if not isinstance(value, str | int | float):
                raise UsageError(f"{path}: {name} expects a single value")
            text = ("off", "on")[value] if isinstance(value, bool) else str(value)
            try:
                found[name] = Held(READERS[name][1](text), path)
            except ValueError as error:
                raise UsageError(f"{path}: {name} {error}") from None
        else:
            raise UsageError(f"{path}: unknown setting '{name}'")
    return found
