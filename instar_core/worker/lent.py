"""Codings that only a plugin knows: its own hook decodes them, in a codec worker."""

from __future__ import annotations

import os
import sys

from instar_core.codecs import PLUGIN
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.worker import relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any

    from instar_core.codecs import Code

HOOK = "instar_decode"
GUEST = "INSTAR_SANDBOX_GUEST"
"""A variable that every guest has in its environment."""


def decoder(params: Mapping[str, Any], unit: int) -> Code:
    """A function that decodes by the plugin's hook. Its module, and what that preloads to decode, is imported.

    Raises FormatError (UNSUPPORTED) where the plugin lacks the hook, and whatever the import does.
    """
    module = _hooks(*params[PLUGIN])
    if relay.implementation(module, HOOK) is None:
        raise FormatError(f"the plugin {module.__name__} does not implement {HOOK}", kind=ErrorKind.UNSUPPORTED)
    own = {key: value for key, value in params.items() if key != PLUGIN}

    def code(stored: memoryview, room: memoryview, number: int) -> int:
        del number
        made = relay.call(module, HOOK, params=own, stored=bytes(stored))
        if not isinstance(made, bytes | bytearray):
            raise ContractViolation(f"{module.__name__}.{HOOK} made a {type(made).__name__}, not bytes")
        if len(made) > unit:
            raise FormatError(f"compressed data is {len(made)} bytes long, more than {unit}", kind=ErrorKind.CORRUPT)
        room[: len(made)] = made
        return len(made)

    return code


def _hooks(name: str, value: str) -> ModuleType:
    """The hooks module of the plugin that an entry point's value leads to."""
    from instar_core.worker.format import specification

    _import(value.partition(":")[0])
    spec = specification(name, value)
    _import(spec.hooks)
    for module in spec.preload.get("decode", ()):
        try:
            _import(module)
        except ImportError:
            # Whoever wants it later is told so at once, instead of looking for it behind the walls.
            sys.modules[module] = None  # type: ignore[assignment]
    return sys.modules[spec.hooks]


def _import(module: str) -> None:
    if module not in sys.modules and GUEST in os.environ:
        raise ImportError(f"{module} is not in this guest")
    __import__(module)
