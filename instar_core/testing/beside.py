"""Modules that lie beside a test and hold no tests: under pytest's import mode importlib nothing else finds them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def beside(file: str) -> Callable[[str], ModuleType]:
    """Loads a module by its name from the folder of `file`, once for all who ask."""
    folder = Path(file).resolve().parent

    def load(name: str) -> ModuleType:
        path = folder / f"{name}.py"
        known = sys.modules.get(name)
        if known is not None and known.__file__ == str(path):
            return known
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a module")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:  # a half of it serves nobody
            del sys.modules[name]
            raise
        return module

    return load
