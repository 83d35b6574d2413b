"""Shows one image to instar and to qemu-img and tells where they disagree.

The command under test is called as qemu-img, with everything allowed that qemu-img allows. It runs in a fork of this
process, or is the program that INSTAR_COMMAND names.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import random
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import excuses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from histories import History, Step, Target

LIKE_QEMU = {"INSTAR_UNSAFE_QUIRKS": "1", "INSTAR_IMAGE_POLICY": "qemu", "LC_ALL": "C", "TZ": "UTC"}
TIMEOUT = 120
GRACE = 5
"""Seconds in which a command that hangs may tell where."""
STEP_TIMEOUT = 60
BLOCK = 1 << 20
NOISE_SIZE = 256 << 10


FORMATS = ("qcow2", "vmdk", "vhdx", "vpc", "vdi", "qed", "qcow", "parallels", "luks")


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: bytes
    err: bytes


class Programs(NamedTuple):
    """Where qemu-img and qemu-io are."""

    img: str
    io: str


def foreign(program: str, words: Sequence[str], folder: Path, timeout: float = TIMEOUT) -> Answer:
    """A program of QEMU, run in the folder."""
    environment = dict(os.environ, LC_ALL="C", TZ="UTC")
    done = subprocess.run(
        [program, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


AGAIN = 3
"""Times that a map is asked for again: whether an extent that was reserved but not written counts as a hole depends on
what of it the page cache holds at that moment, for qemu-img too."""


def warm() -> None:
    """All that commands import is imported, so that a fork need not."""
    import instar_sandbox

    import instar_core

    for package in (instar_core, instar_sandbox):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".testing" not in module.name:
                importlib.import_module(module.name)
    for format in FORMATS:
        if importlib.util.find_spec(f"instar_{format}") is None:
            continue
        hooks = importlib.import_module(f"instar_{format}.hooks")
        for module in pkgutil.iter_modules([os.path.dirname(str(hooks.__file__))], f"instar_{format}."):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def ours(words: Sequence[str], folder: Path) -> Answer:
    """instar, called qemu-img, run in the folder."""
    command = os.environ.get("INSTAR_COMMAND")
    if command:
        with tempfile.TemporaryDirectory() as place:
            link = Path(place, "qemu-img")
            link.symlink_to(command)
            done = subprocess.run(
                [str(link), *words],
                cwd=folder,
                env={**os.environ, **LIKE_QEMU},
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        return Answer(done.returncode, done.stdout, done.stderr)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _become(words, folder, out.fileno(), err.fileno())
        status = _ended(child)
        out.seek(0)
        err.seek(0)
        return Answer(os.waitstatus_to_exitcode(status), out.read(), err.read())


def _ended(child: int) -> int:
    """The status of a command that has ended; one that does not end in time is made to tell where it is, and ended."""
    pidfd = os.pidfd_open(child)
    try:
        for seconds, number in ((TIMEOUT, signal.SIGABRT), (GRACE, signal.SIGKILL)):
            if select.select([pidfd], [], [], seconds)[0]:
                break
            signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    return os.waitpid(child, 0)[1]


def _become(words: Sequence[str], folder: Path, out: int, err: int) -> None:
    """The calling process is the command, and does not return."""
    code = 120
    try:
        os.chdir(folder)
        os.environ.update(LIKE_QEMU)
        for given, wanted in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(given, wanted)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
        faulthandler.enable(err)
        from instar_core.cli.main import main

        code = main(["qemu-img", *words])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code & 0xFF)


class Unmade(Exception):
    """A command of the history did not end: there is nothing to compare."""


class Judge:
    """Remakes a history in an empty folder and collects the disagreements."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.wrong: list[str] = []
        self.excused: Counter[str] = Counter()
        """Differences that are deliberate, by the name of the quirk."""
        self.asked = 0
        """Commands of instar that were judged."""
        self.converted = 0
        """New images that qemu-img was asked about."""

    def run(self, history: History) -> list[str]:
        """Every disagreement, as text. Raises Unmade where a command of qemu's hangs while the image is made."""
        (self.folder / "noise").write_bytes(random.Random(0).randbytes(NOISE_SIZE))
        for step in history.steps:
            answer = self._step(step)
            if step.must and answer.code:
                self.wrong.append(f"the history cannot be made: {step.words}: {answer.err.decode(errors='replace')}")
                return self.wrong
        self.history = history
        top = history.spec or history.chain[0][0]
        if not history.huge:
            self._content(history)
        settle(self.folder)
        for words in history.questions:
            self._question(words)
        for target in history.targets:
            self._target(target, top)
        for creation in history.creations:
            self._creation(*creation)
        return self.wrong

    def _step(self, step: Step) -> Answer:
        program = self.programs.img if step.program == "img" else self.programs.io
        try:
            return foreign(program, step.words, self.folder, STEP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise Unmade(str(error)) from error

    def _img(self, *words: str) -> Answer:
        return foreign(self.programs.img, words, self.folder)

    def _ours(self, *words: str) -> Answer:
        self.asked += 1
        return ours(words, self.folder)

    def _question(self, words: Sequence[str]) -> None:
        """Exit code and output are the same bytes; findings of a check are the same lines."""
        want, have = self._img(*words), self._ours(*words)
        for _ in range(AGAIN if words[0] in ("info", "map", "measure") else 0):
            if (want.code, want.out) == (have.code, have.out):
                break
            want, have = self._img(*words), self._ours(*words)
        if "-s" in words and words[0] == "compare" and _stopped_early(want, have):
            return
        others = words[0] == "check" and want.code != 1
        others = others and sorted(want.err.splitlines()) != sorted(have.err.splitlines())
        if others or (want.code, want.out) != (have.code, have.out):
            self._wrong(words, want, have)

    def _wrong(self, words: Sequence[str], want: Answer, have: Answer) -> None:
        """The answers differ, by choice or not."""
        excuse = excuses.find(words, want, have)
        if excuse:
            self.excused[excuse] += 1
        else:
            self.wrong.append(f"{' '.join(words)}: {_difference(want, have)}")

    def _content(self, history: History) -> None:
        """The disk converts to the same raw file; leaves that, and one with a byte changed, for comparisons."""
        top, format = history.chain[0]
        given = ("--image-opts", history.spec) if history.spec else ("-f", format, top)
        words = ("convert", *history.objects, "-O", "raw", *given)
        want, have = self._img(*words, "reference.raw"), self._ours(*words, "ours.raw")
        if bool(want.code) != bool(have.code):
            self.wrong.append(f"convert {top} to raw: {_difference(want, have)}")
        if want.code or have.code:
            return
        at = first_difference(self.folder / "reference.raw", self.folder / "ours.raw")
        if at is not None:
            self.wrong.append(f"convert {top} to raw: the content differs at {at}")
        altered = self.folder / "altered.raw"
        (self.folder / "ours.raw").replace(altered)
        size = altered.stat().st_size
        if size:
            with open(altered, "r+b") as file:
                file.seek(size * 2 // 3)
                byte = file.read(1)
                file.seek(size * 2 // 3)
                file.write(bytes((byte[0] ^ 1,)))

    def _target(self, target: Target, top: str) -> None:
        """What instar converts to, qemu-img finds sound and equal, and can write on."""
        told = f"{' '.join(target.words)} {top} {target.name}"
        for step in target.before:
            if self._step(step).code and step.must:
                return
        reference = "reference.raw"
        if target.snapshot:
            reference = "snapshot.raw"
            want = self._img("convert", "-l", target.snapshot, "-O", "raw", top, reference)
        else:
            want = Answer(0 if (self.folder / reference).exists() else 1, b"", b"")
        have = self._ours(*target.words, top, target.name)
        if bool(want.code) != bool(have.code):
            other = self._img(*target.words, top, f"other-{target.name}")
            if bool(other.code) != bool(have.code):
                self._wrong((*target.words, top, target.name), other, have)
            return
        if have.code:
            return
        self._sound(target, reference, told)

    def _sound(self, target: Target, reference: str, told: str) -> None:
        self.converted += 1
        named = ("-f", target.format, target.name)
        if target.spec:
            named = (*_objects(target.words, self.history), "--image-opts", target.spec)
            same = self._img("compare", *named[:-1], f"driver=raw,file.filename={reference}", target.spec)
        else:
            same = self._img("compare", "-f", "raw", "-F", target.format, reference, target.name)
        if same.code:
            self.wrong.append(f"{told}: qemu-img compare: {same.code} {same.out + same.err!r}")
        if target.format == "raw":
            return
        self._question(("info", "--output=json", *named))
        self._question(("map", "--output=json", *named))
        self._clean(named, told)
        if target.format != "vmdk":
            writes = ("write -P 7 0 70k", "write -z 100k 10k", "write -P 9 130k 1000")
            if target.format != "parallels":  # qemu calls the last cluster leaked once it is discarded
                writes = (*writes, "discard 64k 64k")
            size = (self.folder / reference).stat().st_size
            if size >= 200 << 10:
                words = [word for write in writes for word in ("-c", write)]
                foreign(self.programs.io, (*words, *named), self.folder)
                self._clean(named, f"{told}, then {writes}")

    def _clean(self, named: Sequence[str], told: str) -> None:
        found = self._img("check", *named)
        if found.code not in (0, 63):
            self.wrong.append(f"{told}: qemu-img check: {found.code} {(found.out + found.err)[:600]!r}")

    def _creation(self, words: Sequence[str], name: str, size: str) -> None:
        """An empty image: the same line is printed, and qemu-img sees no difference; or both refuse it alike."""
        format = words[words.index("-f") + 1]
        want = self._img(*words, name, size)
        facts = self._facts(format, name)
        for path in self.folder.glob("made*"):
            path.unlink()
        have = self._ours(*words, name, size)
        if (want.code, want.out) != (have.code, have.out) or (want.code and want.err != have.err):
            self._wrong((*words, name, size), want, have)
            return
        if have.code:
            return
        if facts != self._facts(format, name):
            self.wrong.append(f"{' '.join(words)} {name} {size}: {facts} became {self._facts(format, name)}")
        found = self._img("check", "-f", format, name)
        if found.code not in (0, 63) and b"key-secret" not in found.err:
            self.wrong.append(f"{' '.join(words)} {name} {size}: qemu-img check: {found}")

    def _facts(self, format: str, name: str) -> object:
        answer = self._img("info", "--output=json", "-f", format, name)
        if answer.code:
            return answer.err
        told = json.loads(answer.out)
        told.pop("actual-size", None)
        told.pop("children", None)
        return _without(told, RANDOM)


RANDOM = {"cid", "uuid", "iters", "master-key-iters"}
"""Facts that are chosen at random, or by how fast a machine is at the moment."""


def _without(told: object, names: set[str]) -> object:
    """JSON without the members of these names."""
    if isinstance(told, dict):
        return {name: _without(value, names) for name, value in told.items() if name not in names}
    return [_without(value, names) for value in told] if isinstance(told, list) else told


def _objects(words: Sequence[str], history: History) -> tuple[str, ...]:
    """What defines the secret that a command names."""
    return history.objects or tuple(words[words.index("--object") :][:2])


def _stopped_early(want: Answer, have: Answer) -> bool:
    """Whether qemu-img saw another status where instar looked further.

    To qemu-img it is a difference too that what one image says here reaches to its end, and what the other says does
    not, which depends on how far its drivers look ahead at a time.
    """
    status = re.fullmatch(rb"Strict mode: Offset (\d+) block status mismatch!\n", want.out)
    if not status or want.code != 1 or have.code not in (0, 1):
        return False
    later = re.search(rb"ffset (\d+)", have.out)
    return int(later[1]) >= int(status[1]) if later else have.out == b"Images are identical.\n"


def _difference(want: Answer, have: Answer) -> str:
    """Both answers from a little before the first byte in which they differ."""
    at = next((n for n, pair in enumerate(zip(want.out, have.out, strict=False)) if pair[0] != pair[1]), -1)
    if at < 0:
        at = min(len(want.out), len(have.out))
    first = max(0, at - 200)
    shown = [f"exit {a.code} {a.out[first : at + 300]!r} {a.err[-500:]!r}" for a in (want, have)]
    return f"from byte {first}:\n  qemu-img {shown[0]}\n  instar   {shown[1]}"


def settle(folder: Path) -> None:
    """The files are on disk: until then a file system may call a reserved range data now and a hole a moment later."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first byte in which two files differ, None if they are the same."""
    with open(one, "rb") as left, open(other, "rb") as right:
        at = 0
        while True:
            a, b = left.read(BLOCK), right.read(BLOCK)
            if a != b:
                return at + next((n for n, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), len(a))
            if not a:
                return None
            at += BLOCK


def remake(history: History, quote: Callable[[str], str]) -> str:
    """The commands that remake a history, for a shell."""
    lines = ["head -c 262144 /dev/urandom > noise"]
    lines += [" ".join([f"qemu-{step.program}", *map(quote, step.words)]) for step in history.steps]
    return "\n".join(lines)
