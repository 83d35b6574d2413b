"""Does the same to twins, with instar to the one and with qemu-img to the other, and tells where they differ.

After each act both are looked at by qemu-img: content, facts, map, check, snapshots and bitmaps are the same. Where a
difference is deliberate the twins are made equal again, as qemu-img left them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import changes_excuses
from changes_histories import OTHER, SOURCE, TOP
from changes_looks import UNREADABLE, Looks, Twin, digest
from differential import LIKE_QEMU, Answer, Programs, Unmade, ours
from histories import NOISE, NOISE_SIZE

from instar_core import registry
from instar_core.cli.main import VERBS, main
from instar_core.dataplane.sparse import data_ranges
from instar_core.types import Capability

if TYPE_CHECKING:
    from collections.abc import Sequence as Words

    from changes_histories import Act, Sequence

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
SECTOR = 512


class Twins:
    """Two folders with the same images in them: what qemu-img does happens in the first, what instar does in the
    second."""

    def __init__(self, programs: Programs, folder: Path, sandbox: tuple[str, ...] = INLINE, back: bool = False) -> None:
        self.looks = Looks(programs)
        self.theirs = folder / "qemu"
        self.ours = folder / "instar"
        self.sandbox = sandbox
        self.back = back
        self._kept: bytes | None = None
        """What the disk read as before the act."""
        self._before = Twin(self.ours, {})
        self._settled: set[tuple[Path, bytes]] = set()
        self.acts: Counter[str] = Counter()
        """Acts that succeeded, by format and verb."""
        self.refused: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()

    def run(self, sequence: Sequence) -> str:
        """The first disagreement, as text; empty where there is none. Raises Unmade where there is nothing to compare:
        qemu-img hangs, or it disagrees over an image that qemu-io made so that it cannot be read.
        """
        self.theirs.mkdir(parents=True)
        (self.theirs / NOISE).write_bytes(Random(0).randbytes(NOISE_SIZE))
        for step in sequence.made:
            answer = self.looks.run(step.program, step.words, self.theirs)
            if step.must and answer.code:
                return f"the images cannot be made: {step.words}: {answer.err.decode(errors='replace')}"
        self._equal()
        for act in sequence.acts:
            wrong = self._act(act, sequence)
            if wrong:
                self._readable(sequence)
                return wrong
        return ""

    def _readable(self, sequence: Sequence) -> None:
        """Raises Unmade where an image that is only read cannot be."""
        for name, format in sequence.images:
            if name in (OTHER, SOURCE) and self.looks.raw(name, format, self.theirs) is None:
                raise Unmade(f"qemu-img cannot read '{name}' as it was made")

    def _act(self, act: Act, sequence: Sequence) -> str:
        told = f"{act.program} {' '.join(act.words)}"
        kept = act.name in (f"{sequence.format} rebase", "qcow2 resize", "qed resize", "qed commit")
        self._kept = self.looks.raw(TOP, sequence.format, self.ours) if kept else None
        if act.words[0] in ("check", "amend"):  # which clusters they name, and what is leaked, depends on the layout
            self._equal(self.back)
        names = dict(sequence.images)
        theirs, self._before = self._twin(self.theirs, names), self._twin(self.ours, names)
        equal = act.program == "io" and theirs.same(self._before)
        if act.name == "qcow2 resize":  # as the image was is asked for afterwards
            self.looks.facts(self._before, TOP)
        if act.name == "parallels convert":
            self.looks.check(self._before, TOP)
            self.looks.map(self._before, TOP)
        for twin in (theirs, self._before):
            self._settle(twin)
        want = self.looks.run(act.program, act.words, self.theirs)
        if act.program == "io" and equal:  # the same program does the same to the same bytes
            self._equal()
            (self.refused if want.code else self.acts)[act.name] += 1
            return ""
        if act.program == "io":
            have = self.looks.run(act.program, act.words, self.ours)
            same = _io(want) == _io(have)
        else:
            verb, *rest = act.words
            # A fork of a process of this size costs ten times what most commands do.
            have = (here if self.sandbox == INLINE else ours)((verb, *self.sandbox, *rest), self.ours)
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
            if bool(want.code) != bool(have.code) or excuse in changes_excuses.KEEP_OURS:
                (self.refused if have.code else self.acts)[act.name] += 1
                if act.words[0] == "convert" and not self._arrived(act, sequence):
                    return f"{told}: the content is not that of the source"
                if excuse in changes_excuses.CONTENT_STAYS and not self._stays(sequence.format, self.ours):
                    return f"{told}: the content is not as before"
                self._equal(back=not have.code)
                return ""
        (self.refused if want.code else self.acts)[act.name] += 1
        return self._same(act, told, sequence, want)

    def _later(self, act: Act, format: str, want: Answer, have: Answer) -> bool:
        """Whether instar cannot do this yet."""
        if b"is not supported yet" in have.err or act.words[0] not in VERBS:
            return True
        held = registry.spec(format).capabilities
        needed = next((each for verb, each in NEEDS.items() if f" {verb}" in act.name), None)
        return not want.code and needed is not None and needed not in held

    def _same(self, act: Act, told: str, sequence: Sequence, answer: Answer) -> str:
        """How the twins differ, where that is not for the better. If it is, they are made equal again."""
        names = dict(sequence.images)
        copied = [(folder / "copied").exists() for folder in (self.theirs, self.ours)]
        if copied[0] != copied[1]:
            return f"{told}: a copy is there: {copied}"
        if act.words[0] == "dd" and copied[0]:
            names["copied"] = act.words[act.words.index("-O") + 1]
        theirs, ours = self._twin(self.theirs, names), self._twin(self.ours, names)
        if theirs.same(ours):
            return ""
        looks, better = self.looks, set()
        wrong = looks.content(theirs, ours, TOP)
        kept = changes_excuses.KEPT.get(act.name)
        if wrong and kept and self._stays(sequence.format, self.ours) and not self._stays(sequence.format, self.theirs):
            self.excused[kept] += 1
            self._equal(back=True)
            return ""
        for name in names:
            for ask in (looks.facts, looks.map, looks.check):
                want, have = ask(theirs, name), ask(ours, name)
                if want == have:
                    continue
                excuse = self._better(act, ask.__name__, want, have, told=bool(answer.code), name=name, ours=ours)
                if not excuse and ask == looks.check and "resize-uncovers-nothing" in better:
                    excuse = "" if _but_clusters(want) != _but_clusters(have) else "resize-uncovers-nothing"
                if not excuse:
                    return f"{told}: {name}: {ask.__name__} differ: {_unlike(want, have)}"
                better.add(excuse)
            wrong = looks.content(theirs, ours, name)
            if wrong == UNREADABLE and act.name in changes_excuses.UNREADABLE:
                self.excused[changes_excuses.UNREADABLE[act.name]] += 1
                self._equal(back=True)
                return ""
            if wrong:
                return f"{told}: {name}: {wrong}"
        self.excused.update(f"{each}, {act.name}" for each in better)
        if better or act.name in changes_excuses.UNREADABLE:
            self._equal(back=act.name in changes_excuses.UNREADABLE or bool(better & changes_excuses.KEEP_OURS))
        return ""

    def _twin(self, folder: Path, names: dict[str, str]) -> Twin:
        return Twin(folder, {name: (format, digest(folder / name)) for name, format in names.items()})

    def _stays(self, format: str, folder: Path) -> bool:
        """Whether the disk reads as before the act, and as zeros where it has grown since."""
        raw = self.looks.raw(TOP, format, folder)
        if raw is None or self._kept is None:
            return False
        return raw == self._kept[: len(raw)].ljust(len(raw), b"\0")

    def _arrived(self, act: Act, sequence: Sequence) -> bool:
        """Whether the disk begins with what the source of a conversion reads as."""
        source, format = act.words[-2], act.words[act.words.index("-f") + 1]
        wanted, raw = self.looks.raw(source, format, self.ours), self.looks.raw(TOP, sequence.format, self.ours)
        return wanted is not None and raw is not None and raw[: len(wanted)] == wanted

    def _better(self, act: Act, what: str, want: Any, have: Any, *, told: bool, name: str, ours: Twin) -> str:
        """What instar did otherwise and no worse, by name; empty where it did worse."""
        if told and changes_excuses.spoils(act) and ours.same(self._before):
            return changes_excuses.REFUSED
        if what == "map" and act.name == "qcow2 resize" and isinstance(want, list) and isinstance(have, list):
            old = self.looks.facts(self._before, name)
            start = old["virtual-size"] // old["cluster-size"] * old["cluster-size"]
            unit = (start, start + old["cluster-size"])
            return "resize-uncovers-nothing" if _outside(want, *unit) == _outside(have, *unit) else ""
        if act.name == "parallels convert":  # what was allocated stays so: its zeros are stored, and its leaks leaked
            before = getattr(self.looks, what)(self._before, name)
            if what == "map" and isinstance(before, list) and isinstance(want, list):
                want = want + before
            if what == "check" and isinstance(before, dict) and isinstance(want, dict):
                want = {**want, "leaks": max(each.get("leaks", 0) for each in (want, before))}
        facts = self.looks.facts(ours, name)
        return _better(act, what, want, have, 1 if isinstance(facts, str) else facts.get("cluster-size", 1))

    def _settle(self, twin: Twin) -> None:
        """Every file has holes where it can: QEMU zeroes more where the file below has holes, and which those are is
        the file system's business, and that of whoever read it."""
        for name, (_, digested) in twin.images.items():
            file = twin.folder / name
            if (file, digested) not in self._settled:
                _copy(str(file), f"{file}.settled")
                os.replace(f"{file}.settled", file)
                self._settled.add((file, digested))

    def _equal(self, back: bool = False) -> None:
        """Both folders hold what qemu-img left, or `back` what instar left."""
        source, target = (self.ours, self.theirs) if back else (self.theirs, self.ours)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, copy_function=_copy)


def _outside(told: list[dict[str, Any]], start: int, end: int) -> list[tuple[Any, ...]]:
    """A map without what it says from `start` to before `end`."""
    cut: list[tuple[Any, ...]] = []
    for one in told:
        first, last = one["start"], one["start"] + one["length"]
        rest = tuple(sorted((key, value) for key, value in one.items() if key not in ("start", "length")))
        cut += [(low, high, rest) for low, high in ((first, min(last, start)), (max(first, end), last)) if low < high]
    return cut


def held(told: list[dict[str, Any]], unit: int) -> int:
    """How many bytes the image itself holds, in whole units of at least a sector."""
    unit = max(unit, SECTOR)
    units: set[int] = set()
    for one in told:
        if one["data"] and not one["depth"]:
            units.update(range(one["start"] // unit, -(-(one["start"] + one["length"]) // unit)))
    return len(units) * unit


def _but_clusters(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if "-clusters" not in key}


MOVED = ("convert", "commit", "rebase")
"""Verbs that write content: which zeros they leave out depends on how much they look at at once."""
SLACK = 128 << 10


def _better(act: Act, what: str, want: Any, have: Any, unit: int) -> str:
    """What instar did otherwise and no worse, by name; empty where it did worse."""
    if not isinstance(want, type(have)) or isinstance(want, str):
        return ""
    reserved = any(word.startswith("--preallocation=") and not word.endswith("=off") for word in act.words)
    if what == "map" and act.words[0] in (*MOVED, "resize") and not reserved:
        kept = [held(each, unit if act.words[0] in MOVED else 1) for each in (want, have)]
        return changes_excuses.ZEROS if kept[1] <= kept[0] + (SLACK if act.words[0] in MOVED else 0) else ""
    older = "compat=0.10" in act.words
    if what == "map" and older:
        return "amend-frees-zeros" if held(have, 1) <= held(want, 1) else ""
    if what == "check":
        counts = [{**each, "leaks": 0, "leaks-fixed": 0} for each in (want, have)]
        if act.words[0] in MOVED or older:
            counts = [_but_clusters(each) for each in counts]
        if counts[0] != counts[1] or have.get("leaks", 0) > want.get("leaks", 0):
            return ""
        if act.words[0] in MOVED and (have.get("leaks", 0) == want.get("leaks", 0) or act.name.startswith("parallels")):
            return changes_excuses.ZEROS
        if older:
            return "amend-frees-bitmaps" if have.get("leaks", 0) < want.get("leaks", 0) else "amend-frees-zeros"
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
    """The same file, with holes for zeros."""
    with open(source, "rb") as read, open(target, "wb") as written:
        data = read.read()
        written.truncate(len(data))
        for at, length in data_ranges(data, 0, len(data)):
            os.pwrite(written.fileno(), data[at : at + length], at)


def here(words: Words[str], folder: Path) -> Answer:
    """instar, called qemu-img, run in the folder by the calling process."""
    place, environment = os.getcwd(), dict(os.environ)
    streams, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    told = [os.memfd_create(name) for name in ("out", "err")]
    try:
        os.chdir(folder)
        os.environ.update(LIKE_QEMU)
        for stream in streams:
            stream.flush()
        for number, file in zip((1, 2), told, strict=True):
            os.dup2(file, number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        try:
            code = main(["qemu-img", *words])
        except Exception:
            code = 120
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return Answer(code, *(os.pread(file, os.fstat(file).st_size, 0) for file in told))
    finally:
        sys.stdout, sys.stderr = streams
        for number, file in zip((1, 2), kept, strict=True):
            os.dup2(file, number)
        for file in (*kept, *told):
            os.close(file)
        os.chdir(place)
        for name in LIKE_QEMU:
            if name in environment:
                os.environ[name] = environment[name]
            else:
                del os.environ[name]


def _io(answer: Answer) -> tuple[int, bytes, bytes]:
    """What qemu-io said, without how long it took."""
    return answer.code, re.sub(rb"\n\d[^\n]*ops/sec\)", b"", answer.out), answer.err


def _said(answer: Answer) -> tuple[int, bytes, bytes]:
    """What was said. Where qemu-img names a node, whose name is random, instar names the file."""
    return answer.code, answer.out, re.sub(rb"#block\d+", os.fsencode(TOP), answer.err)


def _shown(answer: Answer) -> str:
    return f"exit {answer.code} {answer.out[-SHOWN:]!r} {answer.err[-SHOWN:]!r}"


def remake(sequence: Sequence, quote: Any) -> str:
    """The commands of a sequence, for a shell."""
    lines = ["head -c 262144 /dev/urandom > noise"]
    for step in (*sequence.made, *sequence.acts):
        lines.append(" ".join([f"qemu-{step.program}", *map(quote, step.words)]))
    return "\n".join(lines)


__all__ = ["INLINE", "TOP", "Twins", "held", "here", "remake"]
