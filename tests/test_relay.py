"""The worker's relay calls a plugin's hooks as pluggy would."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pluggy
import pytest

from instar_core import hookspecs
from instar_core.errors import ContractViolation
from instar_core.worker import relay

ARGUMENTS: dict[str, dict[str, Any]] = {
    "instar_probe": {"view": "a view"},
    "instar_info": {"image": "an image"},
    "instar_map": {"image": "an image", "layer": "a layer", "span": "a span"},
    "instar_write": {"image": None, "request": "a request", "runs": ()},
    "instar_check": {"image": "an image"},
    "instar_unlock": {"image": "an image"},
    "instar_seal": {"image": None, "request": "a request"},
    "instar_decode": {"params": {}, "stored": b""},
}


def plugin(**functions: Callable[..., Any]) -> ModuleType:
    module = ModuleType("relayed")
    for name, function in functions.items():
        function.__name__ = name
        setattr(module, name, function)
    return module


def by_pluggy(module: ModuleType, hook: str, arguments: dict[str, Any]) -> Any:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    return getattr(manager.hook, hook)(**arguments)


def test_every_hook_is_tried_here() -> None:
    assert tuple(ARGUMENTS) == hookspecs.HOOKS


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_an_implementation_of_all_arguments_gets_them_from_both(hook: str) -> None:
    names = ", ".join(ARGUMENTS[hook])
    space: dict[str, Any] = {}
    exec(f"def answer({names}): return [{names}]", space)
    module = plugin(**{hook: hookspecs.hookimpl(space["answer"])})
    assert (
        relay.call(module, hook, **ARGUMENTS[hook])
        == by_pluggy(module, hook, ARGUMENTS[hook])
        == [*ARGUMENTS[hook].values()]
    )


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_an_implementation_may_name_fewer_arguments_for_both(hook: str) -> None:
    module = plugin(**{hook: hookspecs.hookimpl(lambda: "answer")})
    assert relay.call(module, hook, **ARGUMENTS[hook]) == by_pluggy(module, hook, ARGUMENTS[hook]) == "answer"


def test_a_generator_comes_through_both_unconsumed() -> None:
    def answer(span: str) -> Any:
        yield span

    module = plugin(instar_map=hookspecs.hookimpl(answer))
    arguments = ARGUMENTS["instar_map"]
    assert (
        [*relay.call(module, "instar_map", **arguments)] == [*by_pluggy(module, "instar_map", arguments)] == ["a span"]
    )


def test_a_function_without_the_mark_is_no_implementation_for_either() -> None:
    module = plugin(instar_info=lambda image: "answer")
    assert by_pluggy(module, "instar_info", ARGUMENTS["instar_info"]) is None
    with pytest.raises(ContractViolation, match="does not implement"):
        relay.call(module, "instar_info", **ARGUMENTS["instar_info"])


def test_an_argument_that_the_hook_does_not_have_is_refused_by_both() -> None:
    module = plugin(instar_info=hookspecs.hookimpl(lambda picture: "answer"))
    with pytest.raises(pluggy.PluginValidationError):
        by_pluggy(module, "instar_info", ARGUMENTS["instar_info"])
    with pytest.raises(ContractViolation, match="picture"):
        relay.call(module, "instar_info", **ARGUMENTS["instar_info"])


def test_the_marks_are_those_of_pluggy() -> None:
    def function() -> None: ...

    mine = hookspecs.hookimpl(function).instar_impl  # type: ignore[attr-defined]
    theirs = pluggy.HookimplMarker(hookspecs.PROJECT)(function).instar_impl  # type: ignore[attr-defined]
    assert mine == theirs
