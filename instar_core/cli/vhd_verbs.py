"""The commands of vhd-util. Sizes on its command line count in MiB."""

from __future__ import annotations

import os

from instar_core.cli import output
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed

MIB: Final = 1 << 20
STEP: Final = 1.0


def megabytes(text: str) -> int:
    """A number of MiB, as bytes."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 40:
        raise Fault(f"Invalid size '{text}'")
    return int(text) * MIB


NAME: Final = Opt("name", "n", "", "NAME", ("the VHD file",))
SIZE: Final = Opt("size", "s", "", "SIZE", ("virtual size in MiB",), megabytes)


def query(call: Call, parsed: Parsed) -> None:
    """What is asked for of a file is printed, a line each, in the order that vhd-util has."""
    from instar_core.compat.vhd import chains

    path, settings = parsed.get("name"), call.settings
    lines = []
    if parsed.get("size"):
        lines.append(str(chains.virtual_size(path, settings=settings) // MIB))
    if parsed.get("physical"):
        from instar_core.operations.info import info

        lines.append(str(info(path, format=chains.FORMAT, settings=settings)[0].children[0].size))
    if parsed.get("parent"):
        lines.append(chains.parent(path, settings=settings) or f"{path} has no parent")
    if parsed.get("fields"):
        chains.virtual_size(path, settings=settings)
        lines.append("hidden: 0")
    if parsed.get("depth"):
        lines.append(f"chain depth: {chains.depth(path, settings=settings)}")
    if not lines:
        chains.virtual_size(path, settings=settings)
    for line in lines:
        output.out(f"{line}\n")


def resize(call: Call, parsed: Parsed) -> None:
    """The disk has the size, in whole blocks. It never shrinks, as with vhd-util, but for what is less than a MiB: a
    size that the disk already has in MiB changes nothing."""
    from instar_core.compat.vhd.chains import virtual_size
    from instar_core.compat.vhd.journal import resize as change

    path, size, journal = parsed.get("name"), parsed.get("size"), parsed.get("journal")
    if size is None:
        raise Fault("-s SIZE is missing", usage=True)
    if (journal is None) == (not parsed.get("fast")):
        raise Fault("either -j JOURNAL or -f is needed", usage=True)
    before = virtual_size(path, settings=call.settings)
    change(path, before if before // MIB == size // MIB else size, journal=journal, settings=call.settings)


def coalesce(call: Call, parsed: Parsed) -> None:
    """The parent of a file reads as the file does."""
    from instar_core.cli import progress
    from instar_core.compat.vhd.coalescing import coalesce as merge

    with progress.drawn(call._replace(qemu=True), wanted=parsed.get("progress", False), step=STEP) as drawn:
        merge(parsed.get("name"), settings=call.settings, progress=drawn)


def modify(call: Call, parsed: Parsed) -> None:
    """A file names another parent."""
    from instar_core.compat.vhd.chains import set_parent

    if parsed.get("parent") is None:
        raise Fault("-p PARENT is missing", usage=True)
    set_parent(parsed.get("name"), parsed.get("parent"), settings=call.settings)


def create(call: Call, parsed: Parsed) -> None:
    """A new, empty disk of this size."""
    from instar_core.compat.vhd.chains import FORMAT
    from instar_core.operations.create import create as make

    if parsed.get("size") is None:
        raise Fault("-s SIZE is missing", usage=True)
    options = {"force_size": "on", "subformat": "fixed" if parsed.get("fixed") else "dynamic"}
    make(parsed.get("name"), format=FORMAT, size=parsed.get("size"), options=options, settings=call.settings)


def snapshot(call: Call, parsed: Parsed) -> None:
    """A new, empty child of a file, as large as that."""
    from instar_core.compat.vhd.chains import FORMAT
    from instar_core.operations.create import create as make

    path, parent = parsed.get("name"), parsed.get("parent")
    if parent is None:
        raise Fault("-p PARENT is missing", usage=True)
    stored = os.path.relpath(os.path.realpath(parent), os.path.dirname(os.path.realpath(path)))
    make(path, format=FORMAT, backing=stored, backing_format=FORMAT, settings=call.settings)


VERBS: Final[dict[str, tuple[Verb, Callable[[Call, Parsed], None]]]] = {
    "create": (
        Verb(
            "create",
            ("-n NAME -s SIZE [-r]",),
            "Create a VHD file",
            (NAME, SIZE, Opt("fixed", "r", "", "", ("fixed instead of dynamic",))),
        ),
        create,
    ),
    "snapshot": (
        Verb(
            "snapshot",
            ("-n NAME -p PARENT",),
            "Create a child of a VHD file",
            (NAME, Opt("parent", "p", "", "PARENT", ("the file that it is a child of",))),
        ),
        snapshot,
    ),
    "query": (
        Verb(
            "query",
            ("-n NAME [-v] [-s] [-p] [-f] [-d]",),
            "Print what a VHD file says of itself",
            (
                NAME,
                Opt("size", "v", "", "", ("print the virtual size in MiB",)),
                Opt("physical", "s", "", "", ("print the size of the file in bytes",)),
                Opt("parent", "p", "", "", ("print where the parent is",)),
                Opt("fields", "f", "", "", ("print fields: whether the file is hidden, which it never is here",)),
                Opt("depth", "d", "", "", ("print how many files the chain has",)),
            ),
        ),
        query,
    ),
    "resize": (
        Verb(
            "resize",
            ("-n NAME -s SIZE {-j JOURNAL | -f}",),
            "Grow the disk in a VHD file",
            (
                NAME,
                SIZE,
                Opt("journal", "j", "", "JOURNAL", ("file that is there while the disk grows",)),
                Opt("fast", "f", "", "", ("without a journal",)),
            ),
        ),
        resize,
    ),
    "coalesce": (
        Verb(
            "coalesce",
            ("-n NAME [-p]",),
            "Write what a VHD file holds into its parent",
            (NAME, Opt("progress", "p", "", "", ("show progress",)), Opt("sparse", "s", "", "", ("(always)",))),
        ),
        coalesce,
    ),
    "modify": (
        Verb(
            "modify",
            ("-n NAME -p PARENT",),
            "Change the parent that a VHD file names",
            (NAME, Opt("parent", "p", "", "PARENT", ("the new parent",))),
        ),
        modify,
    ),
}
"""Each command: how it is called, and what does it."""
