"""What one comparison is: two commands that do the same work."""

from __future__ import annotations

import re
from typing import NamedTuple

FILE = re.compile("@[^,=@]+")
"""A word, or a part of one, that stands for a file."""
OUT = "@out"
"""Stands for the file that a run makes; @ and a name stand for the image of that name, or for its copy where the case
changes it."""


class Case(NamedTuple):
    """One comparison: both programs get `words`, instar's under the name qemu-img.

    `ours` and `theirs` run other commands instead: "instar" or "python", "qemu-img", "qemu-io" or "openstack" (qemu-img
    as oslo.concurrency starts it) and their arguments; `call` calls the function of that name in bench.calls, with the
    first image among the words. `given` is the file that theirs reads as its standard input. `made` is the format of
    what a run makes. `answers` says that both must print the same. `short` cases are run more often. A case that does
    not `parse` anything has no sandbox. `apart` are the words for the same with hardly any content: what that takes is
    not counted. `place` is the kind of file system that it happens on. `aim` is the ratio that is to be reached.
    """

    name: str
    words: tuple[str, ...]
    ours: tuple[str, ...] = ()
    made: str = ""
    answers: bool = False
    short: bool = False
    parses: bool = True
    changes: tuple[str, ...] = ()
    call: str = ""
    theirs: tuple[str, ...] = ()
    given: str = ""
    apart: tuple[str, ...] = ()
    place: str = ""
    aim: float = 0.0

    @property
    def images(self) -> set[str]:
        """Names of the images that it begins with."""
        words = (*self.words, *self.ours, *self.theirs, *self.apart)
        named = {hit[1:] for word in words for hit in FILE.findall(word) if hit != OUT}
        return named | {*self.changes, *((self.given,) if self.given else ())}
