"""Imports go one way, danger stays in the files that are named for it, and modules stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "instar_core"
SANDBOX = ROOT / "sandbox" / "src" / "instar_sandbox"
PLUGINS = ROOT / "plugins"
LONGEST = 400

LAYERS = {
    "record": set(),
    "spec": {"record"},
    "requests": {"record"},
    "types": {"record", "spec", "requests"},
    "errors": {"record"},
    "limits": set(),
    "hookspecs": {"record", "spec", "requests", "types", "errors", "limits"},
}
"""What the modules of the contract may import of the core."""

SANDBOXED = {
    "record", "spec", "requests", "types", "errors", "limits", "hookspecs", "source", "bits", "ranges", "taken",
    "tally", "signatures", "wire", "codecs", "luks1", "worker", "partitions", "columns", "lightarray",
}  # fmt: skip
"""What may be imported inside a sandbox; these may import one another and nothing else of the core."""

FOR_PLUGINS = SANDBOXED - {"wire", "worker", "signatures", "partitions"}
"""What plugins may import, and raw, which is a plugin that lives in the core."""

OPENERS = {
    "device.py": "the only place that opens images and what they name",
    "sources/mounting.py": "opens the kernel's end of FUSE, and the one file that is served there",
    "sources/spool.py": "makes the file without a name that a source is copied to",
    "registry.py": "reads the entry points of installed distributions",
    "cli/settings_load.py": "reads the settings files",
    "verdict/file.py": "reads policy files",
    "cli/objects.py": "reads the files that the user's own secrets are in",
    "cli/main.py": "turns a broken standard output into /dev/null",
}
OPENING = {("os", "open"), ("io", "open"), ("os", "fdopen"), ("", "open")}

SLOW = {
    "typing", "re", "enum", "dataclasses", "inspect", "functools", "contextlib", "collections", "argparse", "json",
    "socket", "signal", "subprocess", "threading", "pathlib", "tempfile", "importlib", "rich", "pluggy", "numpy",
    "cryptography", "hashlib", "asyncio", "logging",
}  # fmt: skip
START = [
    "types", "requests", "spec", "errors", "limits", "record", "hookspecs", "source", "results", "settings", "wire",
    "validate", "unlocking", "signatures", "registry", "device", "launch", "policy", "probe", "chain", "session", "raw",
    "worker/format", "worker/relay", "operations/info", "cli/main", "cli/info",
]  # fmt: skip
"""The modules of the path of `instar info`."""


def modules(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def plugin_sources():
    return [path for folder in sorted(PLUGINS.glob("*/src")) for path in modules(folder)]


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(tree, late=True):
    """Full names of what a module imports, those for type checkers left out; with `late` inside functions too."""
    queue = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            queue += node.orelse
        elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            queue += ast.iter_child_nodes(node)


def of_core(path, late=True):
    """Which of the core's modules or folders a module imports."""
    for name in imports(ast.parse(path.read_text()), late):
        parts = name.split(".")
        if parts[0] == "instar_core" and len(parts) > 1 and parts[1] not in ("TYPE_CHECKING", "__version__"):
            yield parts[1]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_modules_of_the_contract_import_only_those_below(layer):
    assert set(of_core(CORE / f"{layer}.py")) <= LAYERS[layer]


def test_what_runs_in_a_sandbox_imports_only_what_may_run_there():
    for path in modules(CORE):
        top = path.relative_to(CORE).parts[0].removesuffix(".py")
        if top in SANDBOXED:
            assert set(of_core(path)) <= SANDBOXED, name_of(path)


@pytest.mark.parametrize("path", plugin_sources(), ids=name_of)
def test_a_plugin_imports_the_contract_and_itself(path):
    own = path.relative_to(PLUGINS).parts[2]
    tops = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    others = {top for top in tops if top.startswith("instar_")} - {"instar_core", own}
    assert others == set()
    assert set(of_core(path)) <= FOR_PLUGINS
    assert not tops & {"os", "io", "socket", "subprocess", "ctypes", "time", "random", "logging", "threading"}


def test_raw_imports_what_any_plugin_may():
    assert set(of_core(CORE / "raw.py")) <= FOR_PLUGINS


def test_the_sandbox_knows_nothing_of_disk_images():
    for path in modules(SANDBOX):
        tops = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
        assert not {top for top in tops if top.startswith("instar_")} - {"instar_sandbox"}, name_of(path)


def test_nothing_imports_the_command_line():
    for path in modules(CORE):
        if path.relative_to(CORE).parts[0] not in ("cli", "__main__.py"):
            assert "cli" not in set(of_core(path)), name_of(path)


def test_operations_are_used_only_by_what_users_see():
    """Operations stand over the rest of the host; only the library's fronts, the command line and the kit use them."""
    for path in modules(CORE):
        if path.relative_to(CORE).parts[0] not in ("operations", "cli", "compat", "testing", "__init__.py", "disk.py"):
            assert "operations" not in set(of_core(path)), name_of(path)


def test_the_data_plane_does_not_interpret_images():
    for path in modules(CORE / "dataplane"):
        assert not set(of_core(path)) & {"session", "registry", "chain", "probe", "policy", "signatures", "disk"}, (
            name_of(path)
        )


def calls(tree):
    """(module or "", name) of every call of a plain name or of a name of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield "", node.func.id
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                yield node.func.value.id, node.func.attr


def test_files_are_opened_only_where_that_is_the_modules_purpose():
    opening = set()
    for path in modules(CORE):
        inside = path.relative_to(CORE)
        if inside.parts[0] != "testing" and OPENING & set(calls(ast.parse(path.read_text()))):
            opening.add(str(inside))
    assert opening <= OPENERS.keys()
    assert "device.py" in opening


def test_device_requests_are_made_only_in_their_own_module():
    places = [*modules(CORE), *plugin_sources()]
    asking = {name_of(path) for path in places if ("fcntl", "ioctl") in set(calls(ast.parse(path.read_text())))}
    assert asking <= {"instar_core/dataplane/ioctls.py"}
    for path in [*places, *modules(SANDBOX)]:
        if SANDBOX not in path.parents:
            assert "/dev/kvm" not in path.read_text(), name_of(path)


def test_only_the_command_line_draws():
    for path in [*modules(CORE), *plugin_sources(), *modules(SANDBOX)]:
        if CORE / "cli" not in path.parents:
            tops = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
            assert "rich" not in tops, name_of(path)


@pytest.mark.parametrize("module", START)
def test_the_path_of_info_imports_nothing_slow(module):
    tree = ast.parse((CORE / f"{module}.py").read_text())
    assert not {name.split(".")[0] for name in imports(tree, late=False)} & SLOW


def test_the_front_of_a_plugin_imports_only_the_words_of_the_contract():
    for path in plugin_sources():
        if path.name == "__init__.py" and path.parent.parent.name == "src":
            names = set(imports(ast.parse(path.read_text()), late=False))
            allowed = ("__future__", "instar_core.types", f"{path.parent.name}.limits")
            assert all(name.startswith(allowed) for name in names), (name_of(path), names)


@pytest.mark.parametrize("place", [CORE, SANDBOX, PLUGINS], ids=lambda place: place.name)
def test_modules_are_short_and_say_what_they_are(place):
    paths = plugin_sources() if place == PLUGINS else modules(place)
    long = {name_of(path): lines for path in paths if (lines := len(path.read_text().splitlines())) > LONGEST}
    assert long == {}
    assert [name_of(path) for path in paths if not ast.get_docstring(ast.parse(path.read_text()))] == []
