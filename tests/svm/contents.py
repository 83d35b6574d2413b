"""What the machine's first file system holds: the interpreter that runs this, all that it can import, and the checkout.

Everything lies where it lies here, so that virtual environments, editable installs and compiled files stay valid.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import sysconfig

NEVER = {".git", ".tox", ".venv", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
MADE = {"dist", "build"}
"""What building leaves in a checkout."""
NOT_OF_THE_LIBRARY = {"test", "tests", "idlelib", "turtledemo", "ensurepip", "site-packages", "dist-packages"}
USELESS = (".a", ".exe", ".opt-1.pyc", ".opt-2.pyc")
SCRIPT_AT_MOST = 1 << 20
"""Bytes. What is larger in a virtual environment's folder of programs is some developer's tool."""
AT_A_TIME = 200
MOST_LINKS = 40
"""On the way to one file, as the kernel has it."""
LOADED_LATE = "libgcc_s.so.1"
"""The C library opens it when a thread ends, and no file says that it needs it."""


class Contents:
    """Files, folders and links by their place here."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.files: set[str] = set()
        self.links: dict[str, str] = {}
        self._trees: set[str] = set()

    def add(self, path: str) -> str:
        """The file or folder of that path is held, and each link on the way to it. Returns its path without links."""
        pending = path.split("/")[::-1]
        here, followed = "", 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            there = f"{here}/{part}" if part != ".." else os.path.dirname(here)
            if os.path.islink(there):
                followed += 1
                if followed > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                self.links[there] = target = os.readlink(there)
                here = "" if target.startswith("/") else here
                pending += target.split("/")[::-1]
            elif os.path.isdir(there):
                self.folders.add(there)
                here = there
            else:
                here = there
        if os.path.isfile(here):
            self.files.add(here)
        return here

    def add_tree(self, path: str, without: set[str] | frozenset[str] = frozenset()) -> None:
        """A folder is held with all below it but what bears one of the names of `without`, or is of no use."""
        top = self.add(path)
        if top in self._trees:
            return
        self._trees.add(top)
        with os.scandir(top) as entries:
            for entry in entries:
                if entry.name in without or entry.name in NEVER or entry.name.endswith(USELESS):
                    continue
                if entry.is_dir():
                    if not self._is_foreign(entry.path):
                        self.add_tree(entry.path, without)
                else:
                    self.add(entry.path)

    def add_libraries(self) -> None:
        """The shared libraries that the files held need are held too, and the loader."""
        programs = sorted(path for path in self.files if is_program(path))
        found: set[str] = set()
        for start in range(0, len(programs), AT_A_TIME):
            found |= needed_libraries(programs[start : start + AT_A_TIME])
        for path in sorted(found):
            self.add(path)
            if os.path.basename(path) == "libc.so.6":
                late = os.path.join(os.path.dirname(path), LOADED_LATE)
                if os.path.exists(late):
                    self.add(late)

    @staticmethod
    def _is_foreign(path: str) -> bool:
        """Whether this is a virtual environment, which is nobody's source."""
        return path != sys.prefix and os.path.exists(f"{path}/pyvenv.cfg")


def is_program(path: str) -> bool:
    """Whether the file is one that the dynamic loader might load."""
    if ".so" not in os.path.basename(path) and not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def needed_libraries(programs: list[str]) -> set[str]:
    """The paths of the libraries that programs, or libraries, need on this machine."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"^\t(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", said, re.MULTILINE))


def of_this_interpreter(checkout: str) -> Contents:
    """The running interpreter, what it can import, and the checkout."""
    held = Contents()
    for path in ("/bin", "/sbin", "/usr/bin"):
        held.add(path)
    held.add(os.path.realpath(sys.executable))
    held.add(sys.executable)
    _add_programs(held)
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}
    configuration = {name for path in library for name in os.listdir(path) if name.startswith("config-")}
    for path in sorted(library):
        held.add_tree(path, NOT_OF_THE_LIBRARY | configuration)
    own = os.path.dirname(os.path.abspath(__file__))
    for path in sys.path:
        if path != own and path not in library and os.path.isdir(path) and os.path.realpath(path) != checkout:
            held.add_tree(path)
        elif os.path.isfile(path):
            held.add(path)
    held.add_tree(checkout, MADE)
    for path in ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"):
        if os.path.isdir(path):
            held.add_tree(path)
    held.add_libraries()
    return held


def _add_programs(held: Contents) -> None:
    """The interpreter's other names, and in a virtual environment the small programs beside it."""
    folder = os.path.dirname(sys.executable)
    virtual = sys.prefix != sys.base_prefix
    if virtual:
        held.add(os.path.join(sys.prefix, "pyvenv.cfg"))
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file():
                continue
            link_to_it = entry.is_symlink() and os.path.realpath(entry.path) == os.path.realpath(sys.executable)
            if link_to_it or (virtual and entry.stat().st_size <= SCRIPT_AT_MOST):
                held.add(entry.path)


def above(path: str) -> list[str]:
    """The folders above a path, the nearest first."""
    found = []
    while (path := os.path.dirname(path)) != "/":
        found.append(path)
    return found


def real(path: str, links: dict[str, str]) -> str:
    """The path that leads to the same file on the machine by no link: /bin is one to usr/bin on some systems."""
    for folder in above(path):
        if folder in links:
            return real(
                os.path.normpath(os.path.join(os.path.dirname(folder), links[folder])) + path[len(folder) :], links
            )
    return path
