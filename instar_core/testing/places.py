"""Laws of places: a plugin answers the same inline, in the jailed process and in the KVM guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instar_core.errors import FormatError, SandboxError
from instar_core.testing import hostile, specimen
from instar_core.testing.law import holds
from instar_core.testing.laws import Laws
from instar_core.testing.medium import Disk
from instar_core.types import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from instar_core.testing.medium import Medium
    from instar_core.testing.specimen import Specimen
    from instar_core.testing.subject import Subject

PLACES = ("process", "kvm")
HOSTILE = 16
EXTENTS = 2_000
CHUNK = 1 << 20


class PlaceLaws(Laws):
    """What holds wherever the plugin runs."""

    @pytest.mark.parametrize("place", PLACES)
    def test_answers_are_the_same_in_every_sandbox(
        self, subject: Subject, specimens: list[Specimen], random: Random, tmp_path: Path, place: str
    ) -> None:
        """Sound and hostile images get the same answers, and refusals of the same kind and text."""
        if place == "kvm":
            guest_or_skip()
        images = [(one.name, list(one.media)) for one in specimens]
        for name, media in images[:2]:
            places = specimen.places(subject, media)
            for mutation in list(hostile.mutations(media, places, (), random, 2 * HOSTILE))[::2]:
                images.append((f"{name}, {mutation.title}", hostile.apply(media, mutation)))
        for name, media in images:
            paths = [_stored(tmp_path / f"device{number}", medium) for number, medium in enumerate(media)]
            try:
                there = _told(subject, paths, place)
            except SandboxError as error:
                if "no platform" in str(error):
                    pytest.skip(f"no sandbox {place} here: {error}")
                raise
            here = _told(subject, paths, "inline")
            holds(here == there, f"{name}: inline it says {here!r:.300}, in {place} {there!r:.300}")


def guest_or_skip() -> None:
    """This process holds a snapshot of a guest; without KVM the test is skipped, with the reason."""
    from instar_core import guests

    if not guests.held(guests.LEAN):
        try:
            guests.hold([guests.LEAN])
        except SandboxError as error:
            pytest.skip(f"no guest here: {error}")


def _told(subject: Subject, paths: Sequence[Path], place: str) -> list[object]:
    """What info, map and check of an image come to: values, or the kind and text of the refusal."""
    from instar_core import device
    from instar_core.session import FormatSession
    from instar_core.settings import Settings

    name = subject.spec.name
    devices = [device.open_named(str(path)) for path in paths]
    told: list[object] = []
    try:
        for operation in ("map", "check") if subject.implements("instar_check") else ("map",):
            try:
                with FormatSession(devices, operation, Settings(sandbox=place), format=name) as session:
                    info = session.info(name)
                    told.append(info)
                    if operation == "check":
                        told.append(list(session.check(name)))
                    else:
                        stream = session.map(name, info, Layer(), 0, info.virtual_size)
                        told.append([extent for _, extent in zip(range(EXTENTS), stream, strict=False)])
            except FormatError as error:
                told.append((error.kind, str(error), error.offset))
    finally:
        for one in devices:
            one.close()
    return told


def _stored(path: Path, medium: Medium) -> Path:
    """The medium as a file on disk, its holes holes."""
    with open(path, "wb") as file:
        if isinstance(medium, Disk):
            for start, length in medium.ranges():
                file.seek(start)
                file.write(medium.read(start, min(length, medium.size - start)))
        else:
            for at in range(0, medium.size, CHUNK):
                data = medium.pread(CHUNK, at)
                if data.strip(b"\0"):
                    file.seek(at)
                    file.write(data)
        file.truncate(medium.size)
    return path
