"""The plugin API as the code has it, as plain data: what tests/contract.toml records, in the same words."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from instar_core import codecs, errors, hookspecs, limits, record, testing, types
from instar_core.testing import FormatConformance, contract
from instar_core.testing.laws import Laws

BY_NAME = "by name: "
TOOLS = ("source", "bits", "ranges", "taken", "tally", "codecs")
"""Modules with functions and classes that plugins call."""
HIDDEN = ("descriptor_source",)
"""What the host alone calls."""
ERRORS = ("InstarError", "FormatError", "NotInstalled", "ContractViolation")
"""What a plugin may raise, and what all of these are."""
NOT_PROMISED = ("columns", "lightarray", "luks1", "signatures")
"""Modules that plugins of the repository share, or that are the host's, though nothing forbids to import them."""
VALUES = ("Kind", "Flag", "Role", "LayerKind", "Severity", "Capability")
FALLING = (
    "PROBE_HEAD", "PROBE_TAIL", "VIRTUAL_SIZE", "READ_ONCE", "WIRE_DEPTH", "WIRE_ITEMS", "REFERENCES", "NAME",
    "CODINGS", "UNIT", "SNAPSHOTS", "BITMAPS", "BITMAP", "MESSAGE", "FINDINGS", "PUT", "WORKER_MEMORY", "WORKER_CPU",
    "MAP_CPU", "MAP_CPU_PER_GIB",
)  # fmt: skip
"""Limits that bound what a plugin may answer or cost: one that fell would refuse what was allowed."""


UNITS = ("KIB", "MIB", "GIB", "PAGE")


def shown(default: object) -> str:
    return "bytes(64)" if default == bytes(64) else repr(default)


def fields(found: Any) -> list[str]:
    """The fields of a record, in their order, each with its default."""
    defaults = found._field_defaults
    return [f"{name} = {shown(defaults[name])}" if name in defaults else name for name in found._fields]


def parameters(function: Any) -> list[str]:
    """The parameters of a function but self: those by place in their order, then those by name, marked so."""
    listed = []
    for one in inspect.signature(function).parameters.values():
        if one.name in ("self", "cls"):
            continue
        mark = BY_NAME if one.kind == one.KEYWORD_ONLY else ""
        listed.append(mark + one.name + ("" if one.default is one.empty else f" = {shown(one.default)}"))
    return listed


def calls() -> dict[str, list[str]]:
    """What a plugin may call, by module and name, with its parameters."""
    found = {"hookspecs.hookimpl": parameters(hookspecs.hookimpl)}
    for name in ERRORS:
        found[f"errors.{name}"] = parameters(getattr(errors, name).__init__)
    for name in TOOLS:
        module = importlib.import_module(f"instar_core.{name}")
        for word, value in vars(module).items():
            if word.startswith("_") or getattr(value, "__module__", "") != module.__name__ or word in HIDDEN:
                continue
            if inspect.isfunction(value):
                found[f"{name}.{word}"] = parameters(value)
            elif inspect.isclass(value):
                found[f"{name}.{word}"] = parameters(value.__init__)
                for method, body in vars(value).items():
                    if inspect.isfunction(body) and (not method.startswith("_") or method == "__getitem__"):
                        found[f"{name}.{word}.{method}"] = parameters(body)
    return found


def api() -> dict[str, dict[str, Any]]:
    """All of it, by section."""
    records = {name: value for name, value in vars(types).items() if isinstance(getattr(value, "_fields", None), tuple)}
    constants = {name: getattr(types, name) for name in ("GROUP", "NOWHERE")}
    return {
        "hooks": {name: parameters(getattr(hookspecs, name)) for name in hookspecs.HOOKS},
        "records": {name: fields(value) for name, value in records.items()},
        "values": {
            **{name: members(getattr(types, name)) for name in VALUES},
            "ErrorKind": members(errors.ErrorKind),
            "types": constants,
            "tally": {"MANY": importlib.import_module("instar_core.tally").MANY},
        },
        "calls": calls(),
        "limits": {name: getattr(limits, name) for name in FALLING},
        "names": {
            "attributes": ["Image.devices", "Image.main", "Image.options", "Source.allocated", "Source.size"],
            "codings": sorted(codecs.CODINGS),
            "file options": [option.name for option in types.FILE_OPTIONS],
            "modules": sorted(set(contract.CORE_NAMES) - set(NOT_PROMISED)),
            "record": sorted(name for name in vars(record) if name == "NamedTuple"),
        },
        "kept": {
            "limits": sorted(name for name in vars(limits) if name in (*FALLING, *UNITS)),
            "standard modules": sorted(contract.PURE),
            "testing": sorted(testing.__all__),
            "kit": sorted(name for name in vars(Laws) if not name.startswith("_")),
            "laws": sorted(name for name in dir(FormatConformance) if name.startswith("test_")),
        },
    }


def members(found: type) -> dict[str, Any]:
    return {name: value for name, value in vars(found).items() if name.isupper()}
