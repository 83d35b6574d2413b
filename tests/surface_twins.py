"""A command line carried out by qemu-img and by instar in folders of the same images, and what differs then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import differential
import surface_excuses
import surface_images
from differential import Answer
from surface_values import SECRET

if TYPE_CHECKING:
    from surface_grammar import Line

    from instar_core.testing.foreign import Programs

TIMEOUT = 20
LARGE = 64 << 20
"""Bytes of a file that is not read as a whole."""
VOLATILE = {
    "actual-size",
    "cid",
    "parent-cid",
    "uuid",
    "date-sec",
    "date-nsec",
    "iters",
    "master-key-iters",
    "children",
}
CHANGING: tuple[tuple[str, str], ...] = (
    (r"\n(Is another process using the image .*|'.*' is one of the files that are .*)", ""),  # why, in other words
    (r"\nTry the '\w+' driver instead\.", ""),  # a hint: what parses an image says one line
    (r"#block\d+", "#block"),
    (r"in \d+\.\d+ seconds", "in N seconds"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
    (r"disk size: .*", "disk size: N"),
    (r"file length: .*", "file length: N"),
    (r'"actual-size": \d+', '"actual-size": N'),
    (r'"date-(n?sec)": \d+', r'"date-\1": N'),
    (r"( +\(\d+\.\d\d/100%\)\r)+", "PROGRESS"),
    (r"(size mismatch!\n)PROGRESS(?=Content)", r"\1"),  # in how large steps a disk is compared
    (r"(c?id|uuid)(\"?): [0-9a-fx\"-]+", r"\1\2: N"),
    (r"(iters)(\"?): \d+", r"\1\2: N"),
)
"""What is not the same from run to run."""


class Told(NamedTuple):
    """What is compared of an answer."""

    code: int
    out: str
    err: str


class Twins:
    """Two folders in which the same command lines are carried out, one by qemu-img and one by instar."""

    def __init__(self, images: Path, folder: Path, programs: Programs, *, modern: bool) -> None:
        self.images = images
        self.names = sorted(path.name for path in images.iterdir())
        self.programs = programs
        self.modern = modern
        self.folders = (folder / "theirs", folder / "ours")
        self.excused: dict[str, int] = {}
        """How often a deliberate difference was met, by the name of its quirk."""

    def differences(self, line: Line) -> list[str]:
        """What the two disagree on, as text."""
        needed = surface_images.needed(line.words, self.names)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in needed:
                source = self.images / name
                if source.is_dir():
                    (folder / name).mkdir()
                else:
                    shutil.copy(source, folder / name)
        try:
            want = differential.foreign(self.programs.qemu(), line.words, self.folders[0], TIMEOUT)
        except subprocess.TimeoutExpired:  # nobody waits for it
            return []
        have = differential.ours(line.words, self.folders[1])
        found = self._answers(line, want, have) + self._files()
        if not found:
            return []
        name = surface_excuses.find(line, want, have, found)
        if name:
            self.excused[name] = self.excused.get(name, 0) + 1
            return []
        return found

    def _answers(self, line: Line, want: Answer, have: Answer) -> list[str]:
        theirs, ours = self.told(want), self.told(have)
        if {"--help", "-h"} & set(line.words):  # the texts are not qemu-img's
            theirs, ours = theirs._replace(out=""), ours._replace(out="")
        if "-V" in line.words or "--version" in line.words:
            theirs, ours = theirs._replace(out=theirs.out[:16]), ours._replace(out=ours.out[:16])
        if not self.modern and want.code:
            theirs, ours = theirs._replace(err=str(bool(theirs.err))), ours._replace(err=str(bool(ours.err)))
        return [
            f"{what}:\n  qemu-img {one!r}\n  instar   {other!r}"
            for what, one, other in zip(Told._fields, theirs, ours, strict=True)
            if one != other
        ]

    def told(self, answer: Answer) -> Told:
        """The answer without what changes from run to run."""
        out, err = (text.decode("utf-8", "replace") for text in (answer.out, answer.err))
        err = err.replace(self.programs.qemu(), "qemu-img")
        for pattern, instead in CHANGING:
            out, err = re.sub(pattern, instead, out), re.sub(pattern, instead, err)
        return Told(answer.code, out, err)

    def _files(self) -> list[str]:
        """Which files there are, and what those hold that changed."""
        theirs, ours = (
            {str(path.relative_to(f)): path for path in f.rglob("*") if path.is_file()} for f in self.folders
        )
        if theirs.keys() != ours.keys():
            return [f"files: qemu-img {sorted(theirs)}, instar {sorted(ours)}"]
        found = []
        for name in sorted(theirs):
            sizes = [path.stat().st_size for path in (theirs[name], ours[name])]
            if (sizes[0] > LARGE and sizes[0] == sizes[1]) or theirs[name].read_bytes() != ours[name].read_bytes():
                found += self._image(name)
        return found

    def _image(self, name: str) -> list[str]:
        facts = [self._facts(folder, name) for folder in self.folders]
        if facts[0] == facts[1] and isinstance(facts[0], bytes):  # neither can be opened
            return []
        if facts[0] != facts[1]:
            return [f"{name}: qemu-img made {facts[0]}, instar {facts[1]}"]
        format = facts[0].get("format", "raw") if isinstance(facts[0], dict) else "raw"
        if format == "raw" and _is_fixed_vhd(self.folders[0] / name):
            return self._compared(name, "vpc")
        if format == "raw" and (self.folders[0] / name).stat().st_size <= LARGE:
            return [f"{name}: the bytes differ"]
        return self._compared(name, format, encrypted=bool(facts[0].get("encrypted")))

    def _compared(self, name: str, format: str, *, encrypted: bool = False) -> list[str]:
        """What qemu-img says of the two images when it compares them."""
        words = ["compare", "-U", "-f", format, "-F", format, f"../theirs/{name}", f"../ours/{name}"]
        if encrypted or format == "luks":
            key = "key-secret" if format == "luks" else "encrypt.key-secret"
            words = ["compare", "--object", SECRET, "--image-opts", *_described(name, format, f"{key}=s")]
        done = self._theirs(*words)
        if done.code == 2 and format in ("qcow2", "qed"):  # what lies below is not there: only its own content counts
            done = self._theirs("compare", "--image-opts", *_described(name, format, "backing="))
        if done.code == 2:  # what it needs besides is not there: it cannot be read in either place
            looks = [self._theirs("map", "-U", "-f", format, f"../{side}/{name}") for side in ("theirs", "ours")]
            return [f"{name}: {done}"] if 0 in {look.code for look in looks} else []
        return [] if done.code == 0 else [f"{name}: {done}"]

    def _theirs(self, *words: str) -> Answer:
        return differential.foreign(self.programs.qemu(), words, self.folders[0], TIMEOUT)

    def _facts(self, folder: Path, name: str) -> Any:
        words = ("info", "-U", "--output=json", f"./{name}")
        done = differential.foreign(self.programs.qemu(), words, folder, TIMEOUT)
        if done.code:
            return done.err
        return _steady(json.loads(done.out))


def _described(name: str, format: str, option: str) -> list[str]:
    """Both images as option strings."""
    file = name.replace(",", ",,")
    return [f"driver={format},{option},file.filename=../{side}/{file}" for side in ("theirs", "ours")]


def _is_fixed_vhd(path: Path) -> bool:
    """Whether there is a footer at the end, with a time and an identifier in it."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 512))
        return file.read(8) == b"conectix"


def _steady(found: Any) -> Any:
    """JSON without what is not the image's own or is drawn anew for each."""
    if isinstance(found, list):
        return [_steady(item) for item in found]
    if isinstance(found, dict):
        return {key: _steady(value) for key, value in found.items() if key not in VOLATILE}
    return found
