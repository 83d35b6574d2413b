"""What all groups of laws share: the format under test, its seed, and what an author may override."""

from __future__ import annotations

import os
import zlib
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from instar_core.testing import specimen
from instar_core.testing.budget import Budget
from instar_core.testing.law import NEEDS, holds
from instar_core.testing.medium import File
from instar_core.testing.subject import Subject, load_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.testing.specimen import Specimen

SEED = "INSTAR_SEED"
"""Environment variable that gives the seed of every random choice."""


class Laws:
    """Base of the groups of laws. A law that needs a capability which the format does not claim is not collected.

    To be set in the class of an author:
    """

    format: ClassVar[str] = ""
    """Name of the format: of its entry point in the group instar.formats.v1."""

    disk_sizes: ClassVar[Sequence[int]] = (512, 65_536, 1_000_448, 3_145_728, 5 << 30)
    """Sizes, in bytes, of the disks that are written and read back. One that the writer refuses is left out."""

    base_options: ClassVar[dict[str, str]] = {}
    """Options, as a user types them, that every image of the format needs. Where they name a secret (key-secret), or
    fill_options do, the kit makes key slots for a passphrase of its own."""

    fill_options: ClassVar[Sequence[dict[str, str]] | None] = None
    """Option lists, as a user types them, that images are made with. None: every choice of every option, one by one.
    What the writer refuses with FormatError is left out."""

    hostile_samples: ClassVar[int] = 400
    """Changed images that are shown to the hooks in one run."""

    hostile_fields: ClassVar[Sequence[tuple[int, int]]] = ()
    """Offset and width of fields of the header that deserve more than their share of extreme values."""

    budget: ClassVar[Budget] = Budget()
    """What one call of a hook may cost."""

    measure_slack: ClassVar[int] = 0
    """Bytes by which the measure of a full disk may pass what is written. Say why where it is not 0."""

    @pytest.fixture
    def corpus(self) -> Sequence[tuple[str, bytes | str | os.PathLike[str]]]:
        """Sound images made by others, as (name, bytes or path): override it. Formats without a writer must."""
        return ()

    @pytest.fixture
    def seed(self) -> int:
        """The seed of every random choice: INSTAR_SEED, or one that is always the same. Shown when a law fails."""
        chosen = int(os.environ.get(SEED, zlib.crc32(self.format.encode())))
        print(f"repeat this with {SEED}={chosen}")
        return chosen

    @pytest.fixture
    def random(self, seed: int) -> Random:
        """Random choices from the seed."""
        return Random(seed)  # noqa: S311 - tests must repeat

    @pytest.fixture
    def subject(self) -> Subject:
        """The format under test."""
        return Subject(load_spec(self.format))

    @pytest.fixture
    def specimens(
        self, subject: Subject, corpus: Sequence[tuple[str, bytes | str | os.PathLike[str]]], random: Random
    ) -> Iterator[list[Specimen]]:
        """Images of the corpus, and some that the format's own writer made."""
        made = [specimen.opened(subject, name, image) for name, image in corpus]
        made += specimen.own(subject, self.disk_sizes, random, self.base_options)
        holds(made, "there is no image to try the laws on: give a corpus")
        yield made
        for one in made:
            for medium in one.media:
                if isinstance(medium, File):
                    medium.close()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if not cls.__dict__.get("format"):
            return
        try:
            has = load_spec(cls.format).capabilities
        except Exception:  # a plugin may fail in any way; the laws then all fail, and say how
            return
        for name in dir(cls):
            if not getattr(getattr(cls, name), NEEDS, frozenset()) <= has:
                setattr(cls, name, None)
