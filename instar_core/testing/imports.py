"""What a module's text imports, without running it."""

from __future__ import annotations

import ast
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def imported(module: str) -> Iterator[tuple[str, bool]]:
    """Names of the modules that it imports, and whether that happens late: inside a function.

    What stands under `if TYPE_CHECKING:` never runs and is left out. Nothing for a module without Python source.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return
    with open(found.origin, "rb") as file:
        tree = ast.parse(file.read())
    package = module if found.submodule_search_locations else module.rpartition(".")[0]
    yield from _walk(tree, package, late=False)


def _walk(node: ast.AST, package: str, *, late: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - child.level + 1]) if child.level else ""
            yield from _names(".".join(part for part in (base, child.module) if part), child, late)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _walk(ast.Module([other], []), package, late=late)
        else:
            yield from _walk(child, package, late=late or isinstance(child, ast.FunctionDef | ast.Lambda))


def _names(module: str, node: ast.ImportFrom, late: bool) -> Iterator[tuple[str, bool]]:
    """`from a import b` imports a.b where that is a module, else a."""
    for alias in node.names:
        whole = f"{module}.{alias.name}"
        try:
            deeper = "." in module or module == "instar_core" or not module.startswith("instar_core.")
            yield (whole if deeper and importlib.util.find_spec(whole) else module), late
        except (ImportError, ValueError):
            yield module, late
