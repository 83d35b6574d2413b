"""Cuts the power at every step of a change and judges what is left, by instar and by qemu-img.

A case is an image, what is done to it and what must hold at any moment: it opens, its disk (and those of its snapshots)
reads as before or as after, a check finds leaks at most, and leaks can be cleaned away.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from instar_core import disk as disks
from instar_core import keys, registry
from instar_core.cli.main import main
from instar_core.errors import FormatError, InstarError
from instar_core.operations import snapshot as snapshots
from instar_core.operations.check import check
from instar_core.operations.repair import repair
from instar_core.settings import Settings
from instar_core.testing.crash import Cut, History
from instar_core.testing.recorder import Recorder, load, store
from instar_core.types import Capability, Severity

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from instar_core.testing.executor import Step

LENIENT = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)
SECTOR = 512
JUDGED_BY_QEMU = frozenset({"qcow2", "qed", "vhdx", "vmdk", "vdi", "parallels"})
READ_BY_QEMU = 0.1
"""Part of the states whose content is read by qemu-img too."""

SAME, EITHER, SECTORS, ANY = "same", "old or new", "sector by sector old or new", "anything"


class Missing(Exception):
    """What a case needs is not there."""


class Refused(Exception):
    """instar does not do this with such an image, and says so."""


class View(NamedTuple):
    """An image that is looked at: its file, its format, and what its disk may read as meanwhile."""

    name: str
    format: str
    content: str = EITHER
    options: dict[str, object] | None = None
    sound: bool = True
    """Whether it is sound before; if not, a check may find anything until the end."""
    mended: bool = True
    """Whether it is sound at the end."""
    opened: tuple[str, ...] = ()
    """How qemu-img is told to open it, where its format and name are not enough."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words by which qemu-img opens it."""
        return self.opened or ("-f", self.format, self.name)


class Case(NamedTuple):
    """A folder with images, what is done in it, and the files that this changes."""

    folder: Path
    operate: Callable[[], object]
    watched: tuple[str, ...]
    views: tuple[View, ...]
    settings: Settings = LENIENT
    ordered: bool = False
    """Whether this is only promised where a file grows no sooner than what is written there."""


class Seen(NamedTuple):
    """What an image holds: its disk, and those of its snapshots by their names."""

    disk: bytes
    snapshots: dict[str, bytes]
    bitmaps: tuple[object, ...]


def command(folder: Path, *words: str, name: str = "instar") -> tuple[int, str]:
    """instar's command line, run here, in the folder: its exit code and what it said."""
    verb, *rest = words
    given = ("--sandbox", "inline", "--image-policy", "qemu", "--unsafe-quirks")
    said = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([name, verb, *given, *rest])
    said.flush()
    return code, said.buffer.getvalue().decode(errors="replace")


def deed(folder: Path, *words: str) -> Callable[[], None]:
    """The command as something to do; it must succeed."""

    def run() -> None:
        code, said = command(folder, *words)
        if "is not supported yet" in said:
            raise Missing(said)
        lines = said.strip().splitlines()
        if code == 1 and lines[-1].startswith("instar: ") and "internal error" not in said:
            raise Refused(lines[-1])
        assert not code, f"instar {' '.join(words)}: {code} {said}"

    return run


def seen(folder: Path, view: View, settings: Settings) -> Seen:
    """What the image holds. Raises InstarError where it cannot be read."""
    path = str(folder / view.name)
    held: dict[str, bytes] = {}
    with disks.open(path, format=view.format, open_options=view.options, settings=settings) as disk:
        content, size, info = disk.pread(disk.size, 0), disk.size, disk.info.image
    assert len(content) == size
    for each in snapshots.list_(path, format=view.format, settings=settings) if info.snapshots else ():
        with disks.open(path, format=view.format, snapshot=each.id, settings=settings) as disk:
            held[each.name] = disk.pread(disk.size, 0)
    return Seen(content, held, tuple(info.bitmaps))


def found(folder: Path, view: View, settings: Settings) -> Seen | None:
    """What the image holds, None where it is too broken to be read."""
    try:
        return seen(folder, view, settings)
    except FormatError:
        if view.sound:
            raise
        return None


class Judge:
    """Does what a case says, once, and judges the states that power cuts leave of it."""

    def __init__(self, case: Case, place: Path, img: str, random: Random, told: str, flushed: bool = True) -> None:
        """Without `flushed` it is as if the disk never heard of any flush: that must be found out."""
        self.case = case
        self.place = place
        self.img = img
        self.random = random
        self.told = told
        self.flushed = flushed
        self.wrong: list[str] = []
        self.count = 0
        self.digests: set[bytes] = set()
        self.fired = False
        """Whether the last fault happened: how many steps there are depends on how full the files are of holes."""

    def run(self, most: int) -> list[str]:
        """What is wrong with any of at most so many states."""
        history = self.done()
        with hurried():
            for cut in history.cuts(self.random, most):
                self.count += 1
                self.digests.add(cut.digest)
                self.judge(cut, cut.steps == len(self.steps) and not cut.fates)
                if len(self.wrong) >= 3:
                    break
        return self.wrong

    def done(self) -> History:
        """The case is done, undisturbed, and what its images hold before and after is known."""
        case = self.case
        old = [found(case.folder, view, case.settings) for view in case.views]
        self.asked = [self._asked(case.folder, view) for view in case.views]  # raises Refused
        self.readable = [self._readable(case.folder, *each) for each in zip(case.views, old, strict=True)]
        recorder = Recorder([str(case.folder / name) for name in case.watched])
        with recorder:
            try:
                case.operate()
            except Refused:
                if not recorder.steps:
                    raise
                # Given up on the way: what was done until then changes nothing that can be seen.
        recorder.verify()
        self.before, self.after = old, [seen(case.folder, view, case.settings) for view in case.views]
        shutil.copytree(case.folder, self.place)
        self.steps = [step for step in recorder.steps if self.flushed or step.what != "sync"]
        return History(recorder.base, self.steps, case.ordered)

    def failing(self, history: History, number: int, code: int) -> str:
        """The same once more, where the step of this number fails with the error: what was said. What is left is
        judged."""
        paths = [str(self.case.folder / name) for name in self.case.watched]
        for path, disk in zip(paths, history.base, strict=True):
            store(disk, path)

        def fault(count: int, step: Step) -> None:
            if count >= number:  # a disk that is broken or full stays so
                self.fired = True
                raise OSError(code, os.strerror(code))

        self.fired = False
        recorder = Recorder(paths, fault)
        said = ""
        with recorder:
            try:
                self.case.operate()
            except (InstarError, Refused) as error:
                said = str(error)
        recorder.verify()
        cut = Cut([load(path) for path in paths], len(recorder.steps), {}, b"")
        with hurried():
            self.judge(cut)
        return said

    def judge(self, cut: Cut, last: bool = False) -> None:
        """What is wrong with one state is noted; `last`: it is the whole change."""
        for name, disk in zip(self.case.watched, cut.files, strict=True):
            store(disk, str(self.place / name))
        for number, view in enumerate(self.case.views):
            try:
                self._judge(number, view, last)
            except (InstarError, AssertionError) as error:
                what = f"{type(error).__name__}: {error}"
                self.wrong.append(f"{self.told}: {view.name}, {cut}: {what}\n{self._near(cut)}")

    def _near(self, cut: Cut) -> str:
        shown = []
        for number, step in enumerate(self.steps):
            if number in (0, cut.steps - 1, cut.steps) or number in cut.fates or step.what == "sync":
                shown.append(f"    {number}: {step.what} file {step.device} at {step.offset}, "
                             f"{len(step.data) or step.length} bytes {step.data[:16].hex()}")  # fmt: skip
        return "\n".join(shown[-40:])

    def _judge(self, number: int, view: View, last: bool) -> None:
        sound = view.sound or (last and view.mended)
        before = self.before[number]
        foreign = self._ask(view, self.place) if self.asked[number] and sound else None
        try:
            now = found(self.place, view, self.case.settings) if before is None else self._seen(view)
            if now is None:
                return
            self._right(view, now, before or now, self.after[number])
            leaks = self._checked(view, sound)
        finally:
            said = foreign.communicate()[0].decode(errors="replace") if foreign else ""
        if foreign is not None:
            assert foreign.returncode in (0, 3), f"qemu-img check: {foreign.returncode} {said[:800]}"
            leaks |= foreign.returncode == 3
        if sound and self.random.random() < READ_BY_QEMU and self.readable[number]:
            self._read_by_qemu(self.place, view, now)
        if not view.sound and view.mended:
            self._mended(view, [each.disk for each in (before, now, self.after[number]) if each is not None])
        elif leaks and Capability.REPAIR in registry.spec(view.format).capabilities:
            self._cleaned(view, now)

    def _seen(self, view: View) -> Seen:
        return seen(self.place, view, self.case.settings)

    def _readable(self, folder: Path, view: View, content: Seen | None) -> bool:
        """Whether qemu-img reads the same to begin with: it knows no backing files of some formats."""
        if content is None:
            return False
        try:
            self._read_by_qemu(folder, view, content)
        except AssertionError:
            return False
        return True

    def _asked(self, folder: Path, view: View) -> bool:
        """Whether qemu-img can check it. Raises Refused where it is not sound: qemu-io may leave one so."""
        if view.format not in JUDGED_BY_QEMU:
            return False
        foreign = self._ask(view, folder)
        said = foreign.communicate()[0].decode(errors="replace")
        if view.sound and foreign.returncode == 2:
            raise Refused(f"qemu-img check: {said}")
        return not view.sound or foreign.returncode in (0, 3)

    def _ask(self, view: View, folder: Path) -> subprocess.Popen[bytes]:
        words = [self.img, "check", *view.words]
        return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _right(self, view: View, now: Seen, old: Seen, new: Seen) -> None:
        if view.content == SAME:
            assert now.disk == old.disk, f"the disk changed {place(now.disk, old.disk)}"
        elif view.content == EITHER:
            assert now.disk in (old.disk, new.disk), (
                f"the disk reads as neither before {place(now.disk, old.disk)} nor after {place(now.disk, new.disk)}"
            )
        elif view.content == SECTORS:
            mixed(now.disk, old.disk, new.disk)
        names = [list(each.snapshots) for each in (now, old, new)]
        assert names[0] in names[1:], f"the snapshots are {names[0]}, neither {names[1]} nor {names[2]}"
        for name, content in now.snapshots.items():
            # A commit changes what lies below the snapshots of an overlay; nothing else changes a snapshot.
            wanted = [each.snapshots[name] for each in (old, new) if name in each.snapshots]
            mixed(content, wanted[0], wanted[-1], f"the snapshot {name}")
        if view.sound:
            assert now.bitmaps in (old.bitmaps, new.bitmaps), f"the bitmaps are {now.bitmaps}"

    def _checked(self, view: View, sound: bool) -> bool:
        if Capability.CHECK not in registry.spec(view.format).capabilities:
            return False
        path = str(self.place / view.name)
        try:
            report = check(path, format=view.format, open_options=view.options, settings=self.case.settings)
        except FormatError:
            if sound:
                raise
            return False  # qemu-img's own check of VMDK ends so
        if sound:
            bad = [each.text for each in report.findings if each.severity > 1]
            assert not report.corruptions and not report.errors, f"instar check: {report.corruptions} {bad[:5]}"
        return any(each.severity == Severity.LEAK and each.repairable for each in report.findings)

    def _read_by_qemu(self, folder: Path, view: View, now: Seen) -> None:
        target = folder / "qemu-reads.raw"
        words = [self.img, "convert", "-O", "raw", *view.words, target.name]
        done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
        assert not done.returncode, f"qemu-img convert: {done.stderr.decode(errors='replace')}"
        have = target.read_bytes()
        target.unlink()
        assert have == now.disk.ljust(len(have), b"\0"), f"qemu-img reads otherwise {place(have, now.disk)}"

    def _cleaned(self, view: View, now: Seen) -> None:
        path = str(self.place / view.name)
        report = repair(path, "leaks", format=view.format, open_options=view.options, settings=self.case.settings)
        assert not report.leaks, f"after check -r leaks there are {report.leaks} leaks"
        again = self._seen(view)
        assert again == now, "check -r leaks changed what the image holds"
        if view.format in JUDGED_BY_QEMU and view.sound:
            foreign = self._ask(view, self.place)
            said = foreign.communicate()[0].decode(errors="replace")
            assert foreign.returncode == 0, f"after check -r leaks: qemu-img check: {foreign.returncode} {said[:800]}"

    def _mended(self, view: View, possible: list[bytes]) -> None:
        """What a repair left that was cut short, another finishes."""
        path = str(self.place / view.name)
        report = repair(path, "all", format=view.format, open_options=view.options, settings=self.case.settings)
        assert not report.corruptions, f"after check -r all there are {report.corruptions} corruptions"
        again = self._seen(view)
        assert again.disk in possible, f"check -r all changed the disk {place(again.disk, possible[0])}"
        if view.format in JUDGED_BY_QEMU:
            foreign = self._ask(view, self.place)
            said = foreign.communicate()[0].decode(errors="replace")
            assert foreign.returncode in (0, 3), (
                f"after check -r all: qemu-img check: {foreign.returncode} {said[:800]}"
            )


def place(one: bytes, other: bytes) -> str:
    """Where the two differ first."""
    if len(one) != len(other):
        return f"({len(one)} bytes, not {len(other)})"
    if one == other:
        return "(the same)"
    low, high = 0, len(one)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if one[low:middle] != other[low:middle] else (middle, high)
    return f"(at {low})"


def mixed(now: bytes, old: bytes, new: bytes, what: str = "the disk") -> None:
    """Each sector reads as before or as after."""
    assert len(now) in (len(old), len(new)), f"{what} has {len(now)} bytes"
    if now in (old, new):
        return
    for at in range(0, len(now), SECTOR):
        piece = now[at : at + SECTOR]
        assert piece in (old[at : at + SECTOR], new[at : at + SECTOR]), (
            f"{what} reads at {at} as neither before nor after: {piece[:16].hex()}"
        )


@contextlib.contextmanager
def hurried():  # type: ignore[no-untyped-def]
    """Nothing waits for the disk, for what is judged is thrown away; the same key slots are opened once."""
    flushes, unlock, known = (os.fdatasync, os.fsync), keys.unlock, {}

    def remembered(plan, passphrase, settings):  # type: ignore[no-untyped-def]
        what = repr((plan, passphrase))
        known[what] = known.get(what) or unlock(plan, passphrase, settings)
        return known[what]

    os.fdatasync, os.fsync, keys.unlock = (lambda _: None), (lambda _: None), remembered
    try:
        yield
    finally:
        (os.fdatasync, os.fsync), keys.unlock = flushes, unlock


def foreign(folder: Path, program: str, *words: object, check: bool = True) -> bytes:
    """A program of QEMU, run in the folder; it must succeed if `check`."""
    done = subprocess.run([program, *map(str, words)], cwd=folder, capture_output=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.stderr.decode(errors='replace')}")
    return done.stdout
