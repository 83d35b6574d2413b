"""Laws of the contract: what a plugin promises before it sees an image."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pluggy

from instar_core import hookspecs, signatures
from instar_core.session import KINDS
from instar_core.spec import misfit
from instar_core.testing.imports import imported
from instar_core.testing.law import holds
from instar_core.testing.laws import Laws
from instar_core.types import GROUP, Capability, FormatSpec, Option, Signature

if TYPE_CHECKING:
    from instar_core.testing.subject import Subject

HEAVY = frozenset((
    "argparse", "asyncio", "collections", "concurrent", "contextlib", "ctypes", "dataclasses", "email", "enum",
    "functools", "http", "importlib.metadata", "importlib_metadata", "inspect", "json", "logging",
    "multiprocessing", "numpy", "pathlib", "pluggy", "random", "re", "rich", "signal", "socket", "ssl",
    "subprocess", "tempfile", "threading", "typing", "urllib",
))  # fmt: skip
"""What importing a specification must not load: each costs more than the specification may."""

NEEDED = {
    Capability.READ: ("instar_info", "instar_map"),
    Capability.CREATE: ("instar_write",),
    Capability.FILL: ("instar_write",),
    Capability.CHECK: ("instar_check",),
    Capability.MEASURE: ("instar_write",),
    Capability.COMPRESS: ("instar_write",),
    Capability.BACKING: ("instar_info", "instar_map"),
    Capability.SNAPSHOT: ("instar_write", "instar_info"),
    Capability.BITMAP: ("instar_write", "instar_info"),
    Capability.ENCRYPT: ("instar_unlock",),
    Capability.UPDATE: ("instar_write",),
    Capability.RESIZE: ("instar_write",),
    Capability.REBASE: ("instar_write", "instar_info"),
    Capability.EMPTY: ("instar_write", "instar_info"),
    Capability.AMEND: ("instar_write",),
    Capability.REPAIR: ("instar_check", "instar_write"),
}
"""The hooks without which a capability is an empty word."""

PURE = frozenset((
    "__future__", "abc", "array", "base64", "binascii", "bisect", "bz2", "codecs", "collections", "contextlib",
    "copy", "dataclasses", "datetime", "enum", "functools", "hashlib", "heapq", "hmac", "itertools", "lzma", "math",
    "numbers", "operator", "re", "string", "struct", "sys", "textwrap", "types", "typing", "unicodedata", "uuid",
    "warnings", "zlib",
))  # fmt: skip
"""Modules of the standard library that a plugin may import: they open, start and ask for nothing."""

CORE_PACKAGE = "instar_core"
CORE_NAMES = (
    "types", "errors", "limits", "hookspecs", "source", "record", "signatures", "codecs", "luks1", "ranges", "taken",
    "tally", "bits", "columns", "lightarray",
)  # fmt: skip
CORE = tuple(f"{CORE_PACKAGE}.{name}" for name in CORE_NAMES)
"""Modules of the core that a plugin may import: the contract, and tools made for plugins."""


class ContractLaws(Laws):
    """What holds before any image is read."""

    allowed_imports: tuple[str, ...] = ()
    """Further top-level modules that the plugin's own modules may import."""

    def test_the_specification_is_plain_data_that_fits_this_contract(self, subject: Subject) -> None:
        """The entry point names a FormatSpec of that name whose every field is what the contract says."""
        spec = subject.spec
        holds(isinstance(spec, FormatSpec), f"the entry point names a {type(spec).__name__}, not a FormatSpec")
        holds(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", spec.name), f"{spec.name!r} is no name for a format")
        holds(spec.name == self.format, f"the entry point {self.format} names the format {spec.name}")
        reason = misfit(spec, self.format)
        holds(not reason, f"it cannot be used: {reason}")
        known = {value for name, value in vars(Capability).items() if name.isupper()}
        holds(isinstance(spec.capabilities, frozenset), "capabilities are a frozenset")
        holds(spec.capabilities <= known, f"no capability is called {', '.join(sorted(spec.capabilities - known))}")
        holds(Capability.READ in spec.capabilities, "a format that cannot be read is of no use")
        for option in (*spec.options, *spec.amend_options, *spec.open_options):
            holds(isinstance(option, Option), f"{option!r:.60} is not an Option")
            holds(option.type in ("size", "bool", "str", "int"), f"option {option.name} has the type {option.type!r}")
        for each in (spec.options, spec.amend_options, spec.open_options):
            names = [option.name for option in each]
            holds(len(set(names)) == len(names), f"an option stands twice in {', '.join(names)}")
        kinds = {name.partition("/")[2] for name in spec.preload if name.startswith("write/")}
        strange = sorted(kinds - set(KINDS.values()))
        holds(not strange, f"it preloads for a request called {', '.join(strange)}, which there is not")
        holds(not kinds or "write" in spec.preload, "it preloads for single requests, and nothing for several of them")
        for sign in spec.signatures:
            holds(isinstance(sign, Signature) and isinstance(sign.magic, bytes), f"{sign!r:.60} is not a Signature")
            holds(len(sign.magic) >= 3, f"{sign.magic!r} is too short to be a signature")

    def test_every_claimed_capability_has_its_hooks(self, subject: Subject) -> None:
        """Nothing is claimed that no hook could do."""
        for capability in sorted(subject.spec.capabilities):
            for hook in NEEDED[capability]:
                holds(subject.implements(hook), f"it claims {capability} but has no {hook}")
        if subject.spec.signatures:
            holds(subject.implements("instar_probe"), "it has signatures but no instar_probe")

    def test_hooks_name_only_arguments_of_the_specification(self, subject: Subject) -> None:
        """pluggy accepts the hooks, all of them are marked, and none is misspelt."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(subject.module)
        manager.check_pending()
        for name, value in vars(subject.module).items():
            if name.startswith("instar_") and inspect.isfunction(value):
                holds(name in hookspecs.HOOKS, f"no hook is called {name}")
                holds(hasattr(value, hookspecs.PROJECT + "_impl"), f"{name} is not marked with hookimpl")
                kinds = {one.kind for one in inspect.signature(value).parameters.values()}
                usual = inspect.Parameter.POSITIONAL_OR_KEYWORD
                holds(kinds <= {usual}, f"{name} has arguments that are not plain ones")

    def test_signatures_agree_with_the_core_and_collide_with_no_other_format(self, subject: Subject) -> None:
        """A known format has the signatures of the core's table; a new one has none that is taken."""
        spec = subject.spec
        for known in signatures.KNOWN:
            if known.format == spec.name:
                strange = [mine for mine in spec.signatures if not any(_narrows(mine, one) for one in known.signatures)]
                holds(not strange, f"the core's table of signatures does not know {strange}")
                lost = [one for one in known.signatures if not any(_narrows(mine, one) for mine in spec.signatures)]
                holds(not lost, f"the core's table also has {lost}")
                return
        others = {(known.format, sign) for known in signatures.KNOWN for sign in known.signatures}
        others |= {(name, sign) for name, other in _installed(spec.name) for sign in other.signatures}
        for name, sign in others:
            for mine in spec.signatures:
                same = sign.magic.startswith(mine.magic) or mine.magic.startswith(sign.magic)
                holds(not (same and mine.offset == sign.offset), f"the signature {mine.magic!r} is also that of {name}")

    def test_importing_the_specification_loads_nothing_heavy(self, subject: Subject) -> None:
        """A fresh interpreter that imports the specification loads none of HEAVY: every call pays for it."""
        loaded = _loads(_home(subject))
        heavy = sorted(name for name in loaded if name in HEAVY or name.partition(".")[0] in HEAVY)
        holds(not heavy, f"importing {_home(subject)} also loads {', '.join(heavy)}")

    def test_the_plugin_imports_only_what_may_be_in_a_sandbox(self, subject: Subject) -> None:
        """The plugin's modules import the contract, themselves, PURE modules, and what the author allows."""
        package = _home(subject).partition(".")[0]
        loaded = _loads(subject.spec.hooks, *_preloaded(subject.spec))
        for module in sorted(loaded):
            own = module == package or module.startswith(package + ".")
            if module == subject.spec.hooks or (own and package != CORE_PACKAGE):
                for name, _ in imported(module):
                    top = name.partition(".")[0]
                    allowed = (
                        top in PURE
                        or top in self.allowed_imports
                        or (top == package and package != CORE_PACKAGE)
                        or any(name == core or name.startswith(core + ".") for core in (*CORE, subject.spec.hooks))
                    )
                    holds(allowed, f"{module} imports {name}, which a plugin may not")

    def test_what_a_hook_imports_late_is_preloaded(self, subject: Subject) -> None:
        """What stands inside functions is loaded before the sandbox closes."""
        loaded = _loads(subject.spec.hooks, *_preloaded(subject.spec), but_nothing=True)
        loaded |= set(subject.spec.preload.get("decode", ()))
        for module in sorted(loaded):
            if module.partition(".")[0] == _home(subject).partition(".")[0] != CORE_PACKAGE:
                for name, late in imported(module):
                    if late:
                        holds(
                            any(name == one or name.startswith(one + ".") for one in loaded),
                            f"{module} imports {name} inside a function, but SPEC.preload does not name it: "
                            "nothing can be imported in a closed sandbox",
                        )


def _narrows(mine: Signature, core: Signature) -> bool:
    """Whether it is the core's signature, or a longer one at the same place that names versions."""
    return mine.offset == core.offset and mine.magic.startswith(core.magic)


def _home(subject: Subject) -> str:
    """The module that the entry point names."""
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=subject.spec.name):
        return point.module
    return subject.spec.hooks.partition(".")[0]


def _preloaded(spec: FormatSpec) -> list[str]:
    """What is imported before the walls; of what only decoding needs, libraries that are not installed are left out."""
    wanted = {name for operation, names in spec.preload.items() if operation != "decode" for name in names}
    optional = {name for name in spec.preload.get("decode", ()) if importlib.util.find_spec(name.partition(".")[0])}
    return sorted(wanted | optional)


def _installed(but: str) -> list[tuple[str, FormatSpec]]:
    from importlib.metadata import entry_points

    made = []
    for point in entry_points(group=GROUP):
        if point.name != but:
            try:
                other = point.load()
            except Exception:  # noqa: S112 - another plugin's fault is not this one's
                continue
            if isinstance(other, FormatSpec):
                made.append((point.name, other))
    return made


def _loads(*modules: str, but_nothing: bool = False) -> set[str]:
    """Modules that a fresh interpreter loads by importing these; with `but_nothing` also those it always has."""
    program = (
        f"import sys\nbefore = set() if {but_nothing} else set(sys.modules)\n"
        + "".join(f"import {module}\n" for module in modules)
        + "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    holds(done.returncode == 0, f"importing {', '.join(modules)} alone fails: {done.stderr.strip().splitlines()[-1:]}")
    return set(done.stdout.split())
