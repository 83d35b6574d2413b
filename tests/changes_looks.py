"""What qemu-img tells of images: content, facts, map and check. Of the same bytes it is asked only once."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from differential import STEP_TIMEOUT, Answer, Programs, Unmade, first_difference, foreign

from instar_core.dataplane.sparse import WIDE, ZEROS

if TYPE_CHECKING:
    from pathlib import Path

OWN = {"actual-size", "children", "date-sec", "date-nsec", "cid", "parent-cid"}
"""Facts that differ between any two images, or that say how files lie on disk."""
LAYOUT = {"image-end-offset", "fragmented-clusters"}
"""Facts of a check that depend on where new clusters lie."""
CHECKED = ("qcow2", "qed", "vdi", "vhdx", "vmdk", "parallels")
UNREADABLE = "qemu-img cannot read what it left, but what instar left"


class Twin(NamedTuple):
    """The images of a folder at one moment: format and digest of the bytes by name."""

    folder: Path
    images: dict[str, tuple[str, bytes]]

    def same(self, other: Twin) -> bool:
        """Whether every image has the same bytes."""
        return self.images == other.images


class Looks:
    """Asks qemu-img of twins, and remembers what it said of which bytes."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._known: dict[tuple[Any, ...], Any] = {}

    def forget(self) -> None:
        """Another sequence begins."""
        self._known.clear()

    def run(self, program: str, words: tuple[str, ...], folder: Path) -> Answer:
        """A program of QEMU, run in the folder. Raises Unmade where it hangs."""
        path = self._programs.img if program == "img" else self._programs.io
        try:
            return foreign(path, words, folder, STEP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise Unmade(str(error)) from error

    def facts(self, twin: Twin, name: str) -> Any:
        """What info tells of the image, or the message of its failure."""
        key = ("facts", name, twin.images if twin.images[name][0] == "vmdk" else twin.images[name])
        return self._once(key, lambda: self._facts(twin, name))

    def check(self, twin: Twin, name: str) -> Any:
        """What check tells, None for formats without one."""
        if twin.images[name][0] not in CHECKED:
            return None
        key = ("check", name, twin.images if twin.images[name][0] == "vmdk" else twin.images[name])
        return self._once(key, lambda: self._check(twin, name))

    def map(self, twin: Twin, name: str) -> Any:
        """What map tells, in as few pieces as can be, without places. None for raw."""
        if twin.images[name][0] == "raw":
            return None
        chain = self._chain(twin, name)
        return self._once(("map", chain), lambda: self._map(twin, name, chain))

    def content(self, theirs: Twin, ours: Twin, name: str) -> str:
        """How the content of the image differs between the twins; empty where it does not."""
        chains = self._chain(theirs, name), self._chain(ours, name)
        if chains[0] == chains[1]:
            return ""
        return str(self._once(("content", *chains), lambda: self._content(theirs, ours, name)))

    def raw(self, name: str, format: str, folder: Path) -> bytes | None:
        """What the image reads as, None where it cannot be read."""
        answer = self.run("img", ("convert", "-f", format, "-O", "raw", name, "content.raw"), folder)
        return None if answer.code else (folder / "content.raw").read_bytes()

    def _once(self, key: tuple[Any, ...], ask: Any) -> Any:
        known = repr(key)
        if known not in self._known:
            self._known[known] = ask()
        return self._known[known]

    def _chain(self, twin: Twin, name: str) -> list[tuple[str, str, bytes]]:
        """The images that are read as one: name, format and digest, from the top on."""
        chain: list[tuple[str, str, bytes]] = []
        below: str | None = name
        while below in twin.images and len(chain) <= len(twin.images):
            chain.append((below, *twin.images[below]))
            told = self.facts(twin, below)
            if isinstance(told, str):  # which others are read is not known then
                return chain + [(each, *twin.images[each]) for each in sorted(twin.images)]
            below = told.get("backing-filename")
        return chain

    def _facts(self, twin: Twin, name: str) -> Any:
        answer = self.run("img", ("info", "--output=json", "-f", twin.images[name][0], name), twin.folder)
        return without(json.loads(answer.out), OWN) if not answer.code else plain(answer.err)

    def _check(self, twin: Twin, name: str) -> Any:
        answer = self.run("img", ("check", "--output=json", "-f", twin.images[name][0], name), twin.folder)
        if answer.code not in (0, 2, 3):
            return plain(answer.err)
        return without(json.loads(answer.out), LAYOUT)

    def _map(self, twin: Twin, name: str, chain: list[tuple[str, str, bytes]]) -> Any:
        answer = self.run("img", ("map", "--output=json", "-f", twin.images[name][0], name), twin.folder)
        if answer.code:
            return plain(answer.err)
        merged: list[dict[str, Any]] = []
        for one in json.loads(answer.out):
            told = {key: value for key, value in one.items() if key != "offset"}
            told["placed"] = "offset" in one
            below = one["depth"] < len(chain) and chain[one["depth"]][1] == "raw"
            if told["data"] or (below and told["placed"]):  # whether a file has a hole is the file system's business
                told["data"], told["zero"] = True, False
            if merged and {**merged[-1], "start": 0, "length": 0} == {**told, "start": 0, "length": 0}:
                merged[-1]["length"] += told["length"]
            else:
                merged.append(told)
        return merged

    def _content(self, theirs: Twin, ours: Twin, name: str) -> str:
        format = theirs.images[name][0]
        named = [str(twin.folder / name) for twin in (theirs, ours)]
        same = self.run("img", ("compare", "-f", format, "-F", format, *named), theirs.folder)
        if same.code < 2:
            return f"the content differs: {same.out.decode(errors='replace')}" if same.code else ""
        codes = []
        for twin in (theirs, ours):
            words = ("convert", "-f", format, "-O", "raw", name, "content.raw")
            codes.append(self.run("img", words, twin.folder).code)
        if codes[0] != codes[1]:
            return UNREADABLE if codes[0] else "qemu-img cannot read what instar left"
        if codes[0]:
            return ""
        at = first_difference(theirs.folder / "content.raw", ours.folder / "content.raw")
        return f"the content differs at {at}" if at is not None else ""


def digest(path: Path) -> bytes:
    """Stands for the bytes of a file, whichever of them are holes."""
    data = path.read_bytes()
    summed = hashlib.sha256(b"%d" % len(data))
    view = memoryview(data)
    for at in range(0, len(data), WIDE):
        if not data.startswith(ZEROS[:WIDE] if at + WIDE <= len(data) else ZEROS[: len(data) - at], at):
            summed.update(b"%d:" % at)
            summed.update(view[at : at + WIDE])
    return summed.digest()


def plain(text: bytes) -> str:
    """A message without the random digits of node names."""
    return re.sub(r"#block\d+", "#block", text.decode(errors="replace"))


def without(told: Any, names: set[str]) -> Any:
    """JSON without the members of these names."""
    if isinstance(told, dict):
        return {name: without(value, names) for name, value in told.items() if name not in names}
    return [without(value, names) for value in told] if isinstance(told, list) else told
