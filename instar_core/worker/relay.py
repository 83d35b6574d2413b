"""Calling the hooks of one plugin.

A session holds exactly one plugin per format, so what pluggy would do comes down to: find the marked function, hand it
the arguments that it names. Doing just that spares the start path pluggy's import, which costs more than everything
else a worker does; the conformance kit registers every plugin with pluggy itself, and a test compares the two.
"""

from __future__ import annotations

from instar_core.errors import ContractViolation
from instar_core.hookspecs import PROJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

MARK = PROJECT + "_impl"


def implementation(module: ModuleType, hook: str) -> Callable[..., Any] | None:
    """The plugin's implementation of a hook, or None: a function of the hook's name (or specname) that carries the
    mark."""
    function = getattr(module, hook, None)
    if function is not None and hasattr(function, MARK):
        return function  # type: ignore[no-any-return]
    return None


def call(module: ModuleType, hook: str, **arguments: Any) -> Any:
    """What the plugin answers to a hook. Arguments that it does not name are left out.

    Raises ContractViolation where the plugin lacks the hook or names an argument that the hook does not have.
    """
    function = implementation(module, hook)
    if function is None:
        raise ContractViolation(f"the plugin {module.__name__} does not implement {hook}")
    code = function.__code__
    named = code.co_varnames[: code.co_argcount]
    for name in named:
        if name not in arguments:
            raise ContractViolation(f"{module.__name__}.{hook} wants {name!r}, which the hook does not have")
    return function(**{name: arguments[name] for name in named})
