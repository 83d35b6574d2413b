"""The plugin API of version 1 only grows, and what it grows by is recorded under the minor that brought it.

tests/contract.toml records each minor. What it says of a minor that is there never changes: FROZEN holds its digest.
Something new is recorded under a further minor, which `API` in instar_core/spec.py then is, and wheels of plugins are
built against it (tests/old_plugins/build.py). Nothing can be taken away, moved or given another default.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from instar_core import hookspecs, source, types
from instar_core.testing.beside import beside

ROOT = Path(__file__).parents[1]
CONTRACT = tomllib.loads(Path(__file__).with_name("contract.toml").read_text())
FROZEN = {"1.0": "af7b8977ccefa33c"}
"""The digest of what is recorded for each minor. A line that is here never changes."""
BY_NAME = "by name: "
CODE = beside(__file__)("contract_code").api()


def digest(section: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()[:16]


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def recorded(versions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All minors together: lists go on, tables get further entries, a limit is what was said last."""
    whole: dict[str, dict[str, Any]] = {}
    for version in sorted(versions, key=number):
        for section, entries in versions[version].items():
            known = whole.setdefault(section, {})
            for name, value in entries.items():
                if isinstance(value, list):
                    known[name] = [*known.get(name, []), *value]
                elif isinstance(value, dict):
                    assert not known.get(name, {}).keys() & value.keys(), f"{section} {name} is recorded twice"
                    known[name] = {**known.get(name, {}), **value}
                else:
                    known[name] = value
    return whole


def faults(code: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]]) -> list[str]:
    """What the code has lost, moved or changed, and what it has that is not recorded."""
    found = []
    for section in sorted(known.keys() | code.keys()):
        mine, theirs = code.get(section, {}), known.get(section, {})
        for name in sorted(mine.keys() | theirs.keys()):
            if name not in theirs:
                found.append(f"{section}: {name} is not recorded: {mine[name]!r}")
            elif name not in mine:
                found.append(f"{section}: {name} is gone")
            else:
                found += [f"{section}: {name}: {fault}" for fault in different(section, mine[name], theirs[name])]
    return found


def different(section: str, mine: Any, theirs: Any) -> list[str]:
    """How an entry differs from what is recorded of it."""
    if section == "limits":
        return [f"{mine} is not {theirs}: {'a limit never falls' if mine < theirs else 'record it'}"] * (mine != theirs)
    if section in ("names", "kept"):
        lost, new = sorted(set(theirs) - set(mine)), sorted(set(mine) - set(theirs)) if section == "names" else []
        return [f"lost {lost}"] * bool(lost) + [f"not recorded: {new}"] * bool(new)
    if isinstance(mine, dict):
        return [
            f"{name} is {mine.get(name, 'gone')!r}, recorded as {theirs.get(name, 'nothing')!r}"
            for name in sorted(mine.keys() | theirs.keys())
            if name not in mine or name not in theirs or mine[name] != theirs[name]
        ]
    mine, theirs = ordered(mine), ordered(theirs)
    if any(word not in mine for word in theirs) or [word for word in mine if word in theirs] != theirs:
        return [f"it was {theirs}, it is {mine}"]
    new = [word for word in mine if word not in theirs]
    if new and any(word in theirs and not word.startswith(BY_NAME) for word in mine[mine.index(new[0]) :]):
        return [f"{new} stands before what was there"]
    return [f"not recorded: {new}"] * bool(new)


def ordered(words: list[str]) -> list[str]:
    """What is given by place in its order, then what is given by name, which has none."""
    return [word for word in words if not word.startswith(BY_NAME)] + sorted(
        word for word in words if word.startswith(BY_NAME)
    )


def test_the_code_is_what_is_recorded_no_less_and_no_more():
    found = faults(CODE, recorded(CONTRACT))
    assert not found, "\n".join(found)


def test_what_is_recorded_for_a_minor_never_changes():
    assert {version: digest(section) for version, section in CONTRACT.items()} == FROZEN


def test_the_version_is_the_newest_minor_that_is_recorded():
    versions = sorted(map(number, CONTRACT))
    assert versions == [(1, minor) for minor in range(len(versions))]
    assert versions[-1] == types.API
    assert types.GROUP.endswith(f".v{types.API[0]}")


def without_default(versions: dict[str, Any]) -> list[str]:
    """What a later minor added to a record or a call that was there, and that plugins would have to give."""
    found = []
    for version in sorted(versions, key=number)[1:]:
        before = recorded({name: versions[name] for name in versions if number(name) < number(version)})
        for section in ("records", "calls"):
            for name, words in versions[version].get(section, {}).items():
                found += [f"{name}: {word}" for word in words if name in before[section] and " = " not in word]
    return found


def test_what_a_later_minor_adds_to_a_record_or_a_call_has_a_default():
    assert without_default(CONTRACT) == []
    later = {
        "records": {"Update": ["fresh = False", "keep_all"], "Move": ["offset"]},
        "calls": {"bits.joined": ["gap"]},
    }
    assert without_default({**CONTRACT, "1.1": later}) == ["Update: keep_all", "bits.joined: gap"]


def test_the_hooks_are_those_that_pluggy_sees():
    assert set(CODE["hooks"]) == set(hookspecs.HOOKS)


def test_what_an_image_and_a_source_have_is_there():
    image = source.Image([source.bytes_source(b"12345")], {"a": 1})
    assert (image.main, image.devices, image.options) == (image.devices[0], (image.main,), {"a": 1})
    assert (image.main.size, image.main.allocated) == (5, 5)


CHANGES = {
    "a hook is gone": lambda code: code["hooks"].pop("instar_check"),
    "a hook has lost an argument": lambda code: code["hooks"]["instar_map"].remove("layer"),
    "a hook has its arguments in another order": lambda code: code["hooks"]["instar_map"].reverse(),
    "a hook has one argument more": lambda code: code["hooks"]["instar_info"].append("mode"),
    "a record is gone": lambda code: code["records"].pop("Punch"),
    "a record has lost a field": lambda code: code["records"]["Extent"].pop(),
    "a record has its fields in another order": lambda code: code["records"]["Extent"].reverse(),
    "a field has lost its default": lambda code: code["records"]["Extent"].__setitem__(-1, "flags"),
    "a field has another default": lambda code: code["records"]["ImageInfo"].__setitem__(9, "partial = False"),
    "the default of api has moved": lambda code: code["records"]["FormatSpec"].__setitem__(3, "api = (1, 1)"),
    "a field was added": lambda code: code["records"]["Update"].append("fresh = False"),
    "a record was added": lambda code: code["records"].update(Move=["offset"]),
    "a capability is gone": lambda code: code["values"]["Capability"].pop("EMPTY"),
    "a value is another": lambda code: code["values"]["Kind"].update(ZERO=2),
    "a capability was added": lambda code: code["values"]["Capability"].update(SHRINK="shrink"),
    "the group is another": lambda code: code["values"]["types"].update(GROUP="instar.formats.v2"),
    "a tool is gone": lambda code: code["calls"].pop("bits.set_bits"),
    "a tool wants more": lambda code: code["calls"]["source.Source.read"].append("by name: deep"),
    "a tool has another default": lambda code: code["calls"]["source.Source.read"].__setitem__(
        2, "by name: pad = True"
    ),
    "a limit fell": lambda code: code["limits"].update(PUT=4096),
    "a field was put in between": lambda code: code["records"]["Extent"].insert(4, "place = 0"),
    "a limit rose": lambda code: code["limits"].update(PUT=1 << 30),
    "a module may not be imported any more": lambda code: code["names"]["modules"].remove("tally"),
    "a coding is not known any more": lambda code: code["names"]["codings"].remove("zstd"),
    "a law was taken away": lambda code: code["kept"]["laws"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_goes_unnoticed(change):
    code = copy.deepcopy(CODE)
    CHANGES[change](code)
    assert code != CODE
    assert len(faults(code, recorded(CONTRACT))) == 1


def test_an_addition_is_accepted_under_a_minor_of_its_own():
    code = copy.deepcopy(CODE)
    code["records"]["Update"].append("fresh = False")
    code["values"]["Capability"]["SHRINK"] = "shrink"
    code["kept"]["laws"].append("test_another")
    code["names"]["codings"].append("lz4")
    code["calls"]["source.Source.read"].append("by name: ahead = 0")
    code["limits"]["PUT"] *= 2
    later = {
        "records": {"Update": ["fresh = False"]},
        "values": {"Capability": {"SHRINK": "shrink"}},
        "names": {"codings": ["lz4"]},
        "calls": {"source.Source.read": ["by name: ahead = 0"]},
        "limits": {"PUT": code["limits"]["PUT"]},
    }
    assert faults(code, recorded({**CONTRACT, "1.1": later})) == []


@pytest.mark.parametrize("plugin", sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")))
def test_a_plugin_states_the_version_that_it_needs(plugin):
    (line,) = [
        line.strip()
        for line in (ROOT / "plugins" / plugin / "src" / f"instar_{plugin}" / "__init__.py").read_text().splitlines()
        if line.startswith("    api=")
    ]
    assert number(line.removeprefix("api=(").removesuffix("),").replace(", ", ".")) <= types.API


@pytest.mark.parametrize("text", ["docs/plugins.md", "CHANGELOG.md"])
def test_the_documents_name_the_version(text):
    assert f"plugin API, version {'.'.join(map(str, types.API))}" in (ROOT / text).read_text()
