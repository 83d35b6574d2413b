"""Laws of writing: what went in comes out, nothing is readable too early, and measure tells the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_core.errors import FormatError
from instar_core.source import Image
from instar_core.testing import content, reading, shape, specimen
from instar_core.testing.executor import Made, change, make
from instar_core.testing.law import Broken, holds, needs
from instar_core.testing.laws import Laws
from instar_core.testing.medium import Disk, source
from instar_core.types import Capability, Kind, Layer, LayerKind, Repair, Role, Run, SnapshotEdit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from instar_core.testing.subject import Subject
    from instar_core.types import Geometry, ImageInfo

CUTS = 24
FULL = 2 << 20
SMALL = 1 << 20
OVERLAY = 4 << 20


class WritingLaws(Laws):
    """What holds for new images."""

    @needs(Capability.CREATE)
    def test_an_empty_image_reads_as_zeros(self, subject: Subject, random: Random) -> None:
        """With every option, at every size; only a disk of 0 bytes may be refused when it is read."""
        tried = 0
        for changed in self._options(subject):
            for size in (0, *self.disk_sizes):
                try:
                    made = make(subject, specimen.request(subject.spec, size, changed, random), _no_runs)
                except (FormatError, specimen.Unfit):
                    continue
                tried += 1
                self._reads(subject, made, Disk(), f"empty, {size} bytes, {changed or 'no options'}")
        holds(tried, "every request for an empty image was refused")

    @needs(Capability.FILL)
    def test_what_was_written_is_read_back(self, subject: Subject, random: Random) -> None:
        """Map after execute after write is the identity, with every option, at every size."""
        self._round_trips(subject, random, compress=False)

    @needs(Capability.FILL, Capability.COMPRESS)
    def test_what_was_written_compressed_is_read_back(self, subject: Subject, random: Random) -> None:
        """The same for runs that the host has encoded."""
        self._round_trips(subject, random, compress=True)

    @needs(Capability.FILL)
    def test_nothing_is_readable_before_the_last_barrier(self, subject: Subject, random: Random) -> None:
        """A new image cut anywhere is plainly refused, or is whole."""
        if not subject.spec.signatures:
            return
        for disk, made in self._small(subject, random):
            steps, last = made.recording.steps, made.recording.barriers()[-1]
            cuts = {0, *made.recording.barriers(), *random.sample(range(last + 1), min(CUTS, last + 1))}
            for count in sorted(cuts | set(range(last + 1, len(steps) + 1))):
                for files in (made.recording.prefix(count), made.recording.cut(count, random)):
                    self._refused_or_whole(subject, made, files, disk, f"cut after step {count} of {len(steps)}")

    @needs(Capability.FILL, Capability.MEASURE)
    def test_measure_is_exact_for_a_full_disk_and_never_too_small(self, subject: Subject, random: Random) -> None:
        """Overhead and data together are what a full image takes, and enough for any other."""
        for changed in self._options(subject):
            for size, disk in ((FULL, content.full(random, FULL)), (SMALL, content.scattered(random, SMALL))):
                try:
                    made = specimen.written(subject, disk, changed, random)
                except FormatError:
                    continue
                unit = made.geometry.measure_unit or made.geometry.unit
                have = sum(file.size for file in made.files)
                told = made.geometry.overhead + -(-made.geometry.size // unit) * unit
                holds(have <= told, f"{size} bytes, {changed}: {have} bytes written, {told} measured")
                if disk.allocated >= FULL:
                    spare = told - have
                    holds(spare <= self.measure_slack, f"{size} full bytes, {changed}: {have} written, {told} measured")

    @needs(Capability.FILL, Capability.BACKING)
    def test_over_a_backing_image_zeros_hide_it_and_the_rest_shows_it(self, subject: Subject, random: Random) -> None:
        """What was written, zeros too, hides the image below; what was not is absent."""
        name = subject.spec.name
        base = self._base(subject, random)
        backing: dict[str, object] = {"name": b"base", "format": name, "size": OVERLAY, "details": dict(base.details)}
        backing["identity"] = base.extra.get("identity")
        changed = {**self.base_options, "backing_file": "base", "backing_fmt": name}
        shown: list[tuple[int, int, int]] = []
        absent: list[tuple[int, int]] = []
        disk = Disk()

        def offer(geometry: Geometry) -> Iterator[content.Offer]:
            holds(geometry.zeros, "over a backing image a writer must be told of zeros")
            return _patchwork(disk, geometry, shown, random)

        made = make(subject, specimen.request(subject.spec, OVERLAY, changed, random, backing=backing), offer)
        files = specimen.devices(subject, made.files[0], made.named())
        image = Image([source(file) for file in files])
        named = [item.name for item in subject.info(image).references if item.role == Role.BACKING]
        holds(named == [b"base"], f"the backing image is called {named}")
        reading.compare(subject, image, files, disk, absent=lambda start, length: absent.append((start, length)))
        for start, length, kind in shown:
            told = f"[{start}, {start + length})"
            if kind == Kind.ABSENT:
                open_there = any(a <= start and start + length <= a + b for a, b in _merged(absent))
                holds(open_there, f"{told} was not written but hides the backing image")
            else:
                hidden = not any(a < start + length and start < a + b for a, b in absent)
                holds(hidden, f"{told} was written but shows the backing image")

    @needs(Capability.FILL, Capability.SNAPSHOT)
    def test_a_snapshot_cut_anywhere_leaves_the_old_or_the_new_image(self, subject: Subject, random: Random) -> None:
        """A power cut leaves the snapshots from before or after, all content, and at most leaked clusters."""
        for disk, made in self._small(subject, random):
            files = made.files
            for action, name in (("create", "first"), ("create", "second"), ("delete", "first"), ("delete", "second")):
                before = self._names(subject, files)
                history = change(subject, files, SnapshotEdit(action, name, specimen.TIME))
                after = self._names(subject, history.files)
                want = [*before, name] if action == "create" else [one for one in before if one != name]
                holds(sorted(after) == sorted(want), f"{action} {name} of {before} leaves {after}")
                self._snapshots_read(subject, history.files, disk, f"{action} {name}")
                steps = len(history.steps)
                cuts = {*history.barriers(), *random.sample(range(steps + 1), min(CUTS, steps + 1))}
                for count in sorted(cuts):
                    for left in (history.prefix(count), history.cut(count, random)):
                        now = self._names(subject, left)
                        told = f"{action} {name} cut after step {count} of {steps}"
                        holds(now in (before, after), f"{told}: the snapshots are {now}")
                        self._snapshots_read(subject, left, disk, told)
                files = history.files

    @needs(Capability.FILL, Capability.REPAIR)
    def test_a_repair_of_a_sound_image_leaves_its_content(self, subject: Subject, random: Random) -> None:
        """Mending what is not broken, or what was cut short, loses nothing; and it can be done twice."""
        for disk, made in self._small(subject, random):
            files: Sequence[Disk] = made.files
            for mode in ("leaks", "all", "all"):
                files = change(subject, files, Repair(mode, specimen.TIME, random.randbytes(64))).files
                told = f"repaired ({mode})"
                try:
                    reading.compare(subject, Image([source(file) for file in files]), files, disk)
                except (Broken, FormatError) as error:
                    raise Broken(f"{told}: {error}") from error

    def _options(self, subject: Subject) -> Sequence[dict[str, str]]:
        chosen = specimen.variants(subject.spec) if self.fill_options is None else self.fill_options
        return [{**self.base_options, **changed} for changed in chosen]

    def _round_trips(self, subject: Subject, random: Random, *, compress: bool) -> None:
        tried = 0
        for changed in self._options(subject):
            for size in self.disk_sizes:
                disk = content.scattered(random, size)
                try:
                    made = specimen.written(subject, disk, changed, random, compress=compress)
                except (FormatError, specimen.Unfit):
                    continue
                except Broken as error:
                    raise Broken(f"{size} bytes, {changed or 'no options'}: {error}") from None
                tried += 1
                self._reads(subject, made, disk, f"{size} bytes, {changed or 'no options'}")
        holds(tried, "every request for a filled image was refused")

    def _reads(self, subject: Subject, made: Made, disk: Disk, told: str) -> None:
        disk.truncate(made.geometry.size)
        try:
            files = specimen.devices(subject, made.files[0], made.named())
            image = Image([source(file) for file in files])
            have = subject.info(image).virtual_size
            holds(have == made.geometry.size, f"the disk has {have} bytes, not {made.geometry.size}")
            reading.compare(subject, image, files, disk)
            if subject.can(Capability.CHECK):
                bad = [found.text for found in shape.check(subject.check(image), reading.MANY) if found.severity]
                holds(not bad, f"a check finds {bad[:3]}")
        except (Broken, FormatError) as error:
            if made.geometry.size or isinstance(error, Broken):
                raise Broken(f"{told}: {error}") from error

    def _small(self, subject: Subject, random: Random) -> Iterator[tuple[Disk, Made]]:
        """A small image, and a small compressed one."""
        for compress in (False, True) if subject.can(Capability.COMPRESS) else (False,):
            disk = content.scattered(random, SMALL)
            yield disk, specimen.written(subject, disk, self.base_options, random, compress=compress)

    def _refused_or_whole(self, subject: Subject, made: Made, files: list[Disk], disk: Disk, told: str) -> None:
        names = {file.name: one for file, one in zip(made.geometry.files, files[1:], strict=True)}
        try:
            if subject.probe(specimen.view(files[0])) is None:
                return
            media = specimen.devices(subject, files[0], names)
            reading.compare(subject, Image([source(one) for one in media]), media, disk)
        except FormatError:
            return
        except Broken as error:
            raise Broken(f"{told} it opens, but {error}") from None

    def _names(self, subject: Subject, files: Sequence[Disk]) -> list[str]:
        return [one.name for one in subject.info(Image([source(files[0])])).snapshots]

    def _snapshots_read(self, subject: Subject, files: Sequence[Disk], disk: Disk, told: str) -> None:
        image = Image([source(file) for file in files])
        layers = [Layer(LayerKind.SNAPSHOT, one.id) for one in subject.info(image).snapshots]
        try:
            for layer in (Layer(), *layers):
                reading.compare(subject, image, files, disk, layer)
            if subject.can(Capability.CHECK):
                bad = [one.text for one in shape.check(subject.check(image), reading.MANY) if one.severity > 1]
                holds(not bad, f"a check finds {bad[:3]}")
        except Broken as error:
            raise Broken(f"{told}: {error}") from error

    def _base(self, subject: Subject, random: Random) -> ImageInfo:
        """The info of a base image of the same format."""
        made = make(subject, specimen.request(subject.spec, SMALL, self.base_options, random), _no_runs)
        files = specimen.devices(subject, made.files[0], made.named())
        return subject.info(Image([source(file) for file in files]))


def _no_runs(geometry: Geometry) -> Iterator[content.Offer]:
    """An empty disk is offered nothing, or all of it where the format wants that."""
    if geometry.full and geometry.size > specimen.FULL_MOST:
        raise specimen.Unfit
    disk = Disk()
    disk.truncate(geometry.size)
    return content.offers(disk, geometry._replace(zeros=False)) if geometry.full else iter(())


def _patchwork(
    disk: Disk, geometry: Geometry, shown: list[tuple[int, int, int]], random: Random
) -> Iterator[content.Offer]:
    """Units of data, of zeros and of nothing, side by side."""
    disk.truncate(geometry.size)
    at = 0
    while at < geometry.size:
        length = min(geometry.unit * random.choice((1, 1, 2, 5, 16)), geometry.size - at)
        kind = random.choice((Kind.DATA, Kind.ZERO, Kind.ABSENT))
        shown.append((at, length, kind))
        if kind == Kind.DATA:
            disk.write(at, random.randbytes(length))
        if kind != Kind.ABSENT:
            yield content.Offer(Run(at, length, kind), disk.read(at, length) if kind == Kind.DATA else b"")
        at += length


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for start, length in ranges:
        if made and sum(made[-1]) == start:
            made[-1] = made[-1][0], made[-1][1] + length
        else:
            made.append((start, length))
    return made
