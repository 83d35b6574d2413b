"""Does the same to twins, with instar to the one and with qemu-img to the other, and tells where they differ.

After each act both are looked at by qemu-img: content, facts, map, check, snapshots and bitmaps are the same. Where a
difference is deliberate the twins are made equal again, as qemu-img left them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import changes_excuses
from changes_histories import TOP
from differential import STEP_TIMEOUT, Answer, Programs, Unmade, first_difference, foreign, ours
from histories import NOISE, NOISE_SIZE

from instar_core import registry
from instar_core.cli.main import VERBS
from instar_core.dataplane.sparse import file_extents
from instar_core.types import Capability

if TYPE_CHECKING:
    from changes_histories import Act, Sequence

OWN = {"actual-size", "children", "date-sec", "date-nsec", "cid", "parent-cid"}
"""Facts that differ between any two images, or that say how files lie on disk."""
LAYOUT = {"image-end-offset", "fragmented-clusters"}
"""Facts of a check that depend on where new clusters lie."""
CHECKED = ("qcow2", "qed", "vdi", "vhdx", "vmdk", "parallels")
NEEDS = {
    "resize": Capability.RESIZE,
    "rebase": Capability.REBASE,
    "commit": Capability.UPDATE,
    "convert": Capability.UPDATE,
    "bitmap": Capability.BITMAP,
    "check": Capability.REPAIR,
}
"""What a format must be able to do for an act."""
INLINE = ("--sandbox", "inline")
SHOWN = 900
UNREADABLE = "qemu-img cannot read what it left, but what instar left"


class Twins:
    """Two folders with the same images in them: what qemu-img does happens in the first, what instar does in the
    second."""

    def __init__(self, programs: Programs, folder: Path, sandbox: tuple[str, ...] = INLINE, back: bool = False) -> None:
        self.programs = programs
        self.theirs = folder / "qemu"
        self.ours = folder / "instar"
        self.sandbox = sandbox
        self.back = back
        self._kept: bytes | None = None
        self.acts: Counter[str] = Counter()
        """Acts that succeeded, by format and verb."""
        self.refused: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()

    def run(self, sequence: Sequence) -> str:
        """The first disagreement, as text; empty where there is none. Raises Unmade where qemu-img hangs."""
        self.theirs.mkdir(parents=True)
        (self.theirs / NOISE).write_bytes(Random(0).randbytes(NOISE_SIZE))
        for step in sequence.made:
            answer = self._foreign(step.program, step.words, self.theirs)
            if step.must and answer.code:
                return f"the images cannot be made: {step.words}: {answer.err.decode(errors='replace')}"
        self._equal()
        for act in sequence.acts:
            wrong = self._act(act, sequence)
            if wrong:
                return wrong
        return ""

    def _act(self, act: Act, sequence: Sequence) -> str:
        told = f"{act.program} {' '.join(act.words)}"
        self._kept = self._raw(TOP, sequence.format, self.ours) if act.name == f"{sequence.format} rebase" else None
        if act.words[0] == "check":  # which clusters are leaked, and where the image ends, depends on its layout
            self._equal(self.back)
        want = self._foreign(act.program, act.words, self.theirs)
        if act.program == "io":
            have = self._foreign(act.program, act.words, self.ours)
            same = _io(want) == _io(have)
        else:
            verb, *rest = act.words
            have = ours((verb, *self.sandbox, *rest), self.ours)
            same = _said(want) == _said(have)
            if have.code and self._later(act, sequence.format, want, have):
                self.excused["later"] += 1
                self._equal()
                return ""
        if not same:
            excuse = changes_excuses.find(act, want, have)
            if not excuse:
                return f"{told}:\n  qemu-img {_shown(want)}\n  instar   {_shown(have)}"
            self.excused[excuse] += 1
            self._equal(back=not have.code)
            return ""
        (self.refused if want.code else self.acts)[act.name] += 1
        return self._same(act, told, sequence)

    def _later(self, act: Act, format: str, want: Answer, have: Answer) -> bool:
        """Whether instar cannot do this yet."""
        if b"is not supported yet" in have.err or act.words[0] not in VERBS:
            return True
        held = registry.spec(format).capabilities
        needed = next((each for verb, each in NEEDS.items() if f" {verb}" in act.name), None)
        return not want.code and needed is not None and needed not in held

    def _same(self, act: Act, told: str, sequence: Sequence) -> str:
        """How the twins differ, where that is not for the better. If it is, they are made equal again."""
        names = dict(sequence.images)
        if act.words[0] == "dd" and (self.theirs / "copied").exists():
            names["copied"] = act.words[act.words.index("-O") + 1]
        better = set()
        for name, format in names.items():
            for ask in (self._facts, self._map, self._check):
                want, have = ask(name, format, self.theirs), ask(name, format, self.ours)
                if want == have:
                    continue
                excuse = _better(act, ask.__name__[1:], want, have)
                if not excuse:
                    return f"{told}: {name}: {ask.__name__[1:]} differ: {_unlike(want, have)}"
                better.add(excuse)
            wrong = self._content(told, name, format)
            if wrong and name == TOP and self._spoiled(format):
                self.excused[changes_excuses.KEPT] += 1
                self._equal(back=True)
                return ""
            if wrong == UNREADABLE and act.name in changes_excuses.UNREADABLE:
                self.excused[changes_excuses.UNREADABLE[act.name]] += 1
                self._equal(back=True)
                return ""
            if wrong:
                return wrong
        self.excused.update(better)
        if better or act.name in changes_excuses.UNREADABLE:
            self._equal(back=not better or bool(better & set(changes_excuses.LESS_HARM.values())))
        return ""

    def _facts(self, name: str, format: str, folder: Path) -> Any:
        answer = self._foreign("img", ("info", "--output=json", "-f", format, name), folder)
        return _without(json.loads(answer.out), OWN) if not answer.code else _plain(answer.err)

    def _map(self, name: str, format: str, folder: Path) -> Any:
        if format == "raw":
            return None
        answer = self._foreign("img", ("map", "--output=json", "-f", format, name), folder)
        if answer.code:
            return _plain(answer.err)
        merged: list[dict[str, Any]] = []
        for one in json.loads(answer.out):
            told = {key: value for key, value in one.items() if key != "offset"}
            told["placed"] = "offset" in one
            if told["data"]:  # whether its file has a hole there is the file system's business
                told["zero"] = False
            if merged and {**merged[-1], "start": 0, "length": 0} == {**told, "start": 0, "length": 0}:
                merged[-1]["length"] += told["length"]
            else:
                merged.append(told)
        return merged

    def _check(self, name: str, format: str, folder: Path) -> Any:
        if format not in CHECKED:
            return None
        answer = self._foreign("img", ("check", "--output=json", "-f", format, name), folder)
        if answer.code not in (0, 2, 3):
            return _plain(answer.err)
        return _without(json.loads(answer.out), LAYOUT)

    def _content(self, told: str, name: str, format: str) -> str:
        raw = []
        for folder in (self.theirs, self.ours):
            answer = self._foreign("img", ("convert", "-f", format, "-O", "raw", name, "content.raw"), folder)
            raw.append(answer.code)
        if raw[0] != raw[1]:
            return UNREADABLE if raw[0] else f"{told}: {name}: qemu-img cannot read what instar left"
        if not raw[0]:
            at = first_difference(self.theirs / "content.raw", self.ours / "content.raw")
            if at is not None:
                return f"{told}: {name}: the content differs at {at}"
        return ""

    def _spoiled(self, format: str) -> bool:
        """Whether a rebase by instar left the disk as it was, and one by qemu-img did not."""
        if self._kept is None:
            return False
        return self._raw(TOP, format, self.ours) == self._kept != self._raw(TOP, format, self.theirs)

    def _raw(self, name: str, format: str, folder: Path) -> bytes | None:
        """What the image reads as, None where it cannot be read."""
        answer = self._foreign("img", ("convert", "-f", format, "-O", "raw", name, "content.raw"), folder)
        return None if answer.code else (folder / "content.raw").read_bytes()

    def _equal(self, back: bool = False) -> None:
        """Both folders hold what qemu-img left, or `back` what instar left."""
        source, target = (self.ours, self.theirs) if back else (self.theirs, self.ours)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, copy_function=_copy)

    def _foreign(self, program: str, words: tuple[str, ...], folder: Path) -> Answer:
        path = self.programs.img if program == "img" else self.programs.io
        try:
            return foreign(path, words, folder, STEP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise Unmade(str(error)) from error


MOVED = ("convert", "commit", "rebase")
"""Verbs that write content: which zeros they leave out depends on how much they look at at once."""
SLACK = 128 << 10


def _better(act: Act, what: str, want: Any, have: Any) -> str:
    """What instar did otherwise and no worse, by name; empty where it did worse."""
    if not isinstance(want, type(have)) or isinstance(want, str):
        return ""
    reserved = any(word.startswith("--preallocation=") and not word.endswith("=off") for word in act.words)
    if what == "map" and act.words[0] in (*MOVED, "resize") and not reserved:
        held = [sum(one["length"] for one in each if one["data"] and not one["depth"]) for each in (want, have)]
        return "less-data" if held[1] <= held[0] + (SLACK if act.words[0] in MOVED else 0) else ""
    harm = changes_excuses.LESS_HARM.get(" ".join(act.name.split()[:2]))
    if what == "check" and harm and have.get("corruptions", 0) < want.get("corruptions", 0):
        return harm
    if what == "check":
        counts = [{**each, "leaks": 0, "leaks-fixed": 0} for each in (want, have)]
        if act.words[0] in MOVED:
            counts = [{key: value for key, value in each.items() if "-clusters" not in key} for each in counts]
        return "fewer-leaks" if counts[0] == counts[1] and have.get("leaks", 0) <= want.get("leaks", 0) else ""
    return ""


def _unlike(want: Any, have: Any) -> str:
    """Where two answers differ first."""
    if isinstance(want, list) and isinstance(have, list):
        at = next((n for n, pair in enumerate(zip(want, have, strict=False)) if pair[0] != pair[1]), 0)
        want, have = want[at : at + 3], have[at : at + 3]
    elif isinstance(want, dict) and isinstance(have, dict):
        keys = [key for key in {**want, **have} if want.get(key) != have.get(key)]
        want, have = ({key: each.get(key) for key in keys} for each in (want, have))
    return f"\n  qemu-img {want!s:.{SHOWN}}\n  instar   {have!s:.{SHOWN}}"


def _copy(source: str, target: str) -> None:
    """The same file with the same holes."""
    with open(source, "rb") as read, open(target, "wb") as written:
        size = os.fstat(read.fileno()).st_size
        written.truncate(size)
        for offset, length, data in file_extents(read.fileno(), 0, size):
            if data:
                os.pwrite(written.fileno(), os.pread(read.fileno(), length, offset), offset)


def _io(answer: Answer) -> tuple[int, bytes, bytes]:
    """What qemu-io said, without how long it took."""
    return answer.code, re.sub(rb"\n\d[^\n]*ops/sec\)", b"", answer.out), answer.err


def _said(answer: Answer) -> tuple[int, bytes, bytes]:
    """What was said. Where qemu-img names a node, whose name is random, instar names the file."""
    return answer.code, answer.out, re.sub(rb"#block\d+", os.fsencode(TOP), answer.err)


def _plain(text: bytes) -> str:
    """A message without the random digits of node names."""
    return re.sub(r"#block\d+", "#block", text.decode(errors="replace"))


def _without(told: Any, names: set[str]) -> Any:
    if isinstance(told, dict):
        return {name: _without(value, names) for name, value in told.items() if name not in names}
    return [_without(value, names) for value in told] if isinstance(told, list) else told


def _shown(answer: Answer) -> str:
    return f"exit {answer.code} {answer.out[-SHOWN:]!r} {answer.err[-SHOWN:]!r}"


def remake(sequence: Sequence, quote: Any) -> str:
    """The commands of a sequence, for a shell."""
    lines = ["head -c 262144 /dev/urandom > noise"]
    for step in (*sequence.made, *sequence.acts):
        lines.append(" ".join([f"qemu-{step.program}", *map(quote, step.words)]))
    return "\n".join(lines)


__all__ = ["INLINE", "TOP", "Twins", "remake"]
