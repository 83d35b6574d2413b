"""Laws of the map: it covers exactly, and says the same however it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_core.source import Image
from instar_core.testing import shape, specimen
from instar_core.testing.law import Broken, holds, needs
from instar_core.testing.laws import Laws
from instar_core.testing.medium import source
from instar_core.types import Capability, Layer, LayerKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from instar_core.testing.specimen import Specimen
    from instar_core.testing.subject import Subject
    from instar_core.types import Extent, ImageInfo

MOST = 200_000
WINDOWS = 24


class MappingLaws(Laws):
    """What holds for the map of every sound image."""

    def test_info_says_possible_things_and_says_them_again(self, subject: Subject, specimens: list[Specimen]) -> None:
        """Info is of the right types, within limits, and the same twice."""
        for one in specimens:
            image = Image([source(medium) for medium in one.media])
            first = subject.info(image)
            shape.info(first, subject.spec.name)
            holds(first == subject.info(image), f"info of {one.name} differs the second time")

    def test_a_map_ascends_touches_and_covers(self, subject: Subject, specimens: list[Specimen]) -> None:
        """Every content of every image is covered exactly, and lies inside its devices."""
        for one, image, info, layer, size in _layers(subject, specimens):
            sizes = [medium.size for medium in one.media]
            with_name = f"{one.name}: "
            try:
                for extent in shape.extents(subject.map(image, 0, size, layer), 0, size, info, MOST):
                    shape.inside(extent, info, sizes)
            except Broken as error:
                raise Broken(with_name + str(error)) from None

    def test_a_map_is_the_same_twice(self, subject: Subject, specimens: list[Specimen]) -> None:
        """A hook keeps nothing from one call to the next."""
        for one, image, info, layer, size in _layers(subject, specimens):
            first = _whole(subject, image, info, layer, size)
            holds(first == _whole(subject, image, info, layer, size), f"the map of {one.name} differs the second time")

    def test_the_map_of_a_window_is_a_slice_of_the_whole(
        self, subject: Subject, specimens: list[Specimen], random: Random
    ) -> None:
        """A window says what the whole says of it, however its borders lie."""
        for one, image, info, layer, size in _layers(subject, specimens):
            if not size:
                continue
            whole = _whole(subject, image, info, layer, size)
            for _ in range(WINDOWS):
                start, length = _window(whole, size, random)
                stream = shape.extents(subject.map(image, start, length, layer), start, length, info, MOST)
                have = shape.joined(stream, info)
                want = shape.joined(shape.cut(whole, start, length, info), info)
                if have != want:
                    at = next(
                        (pair for pair in zip(have, want, strict=False) if pair[0] != pair[1]), (have[-1], want[-1])
                    )
                    raise Broken(
                        f"{one.name}: the map of [{start}, {start + length}) says {at[0]}, that of the whole {at[1]}"
                    )


class CheckLaws(Laws):
    """What holds for the check of images that the format's own writer made."""

    @needs(Capability.CHECK, Capability.FILL)
    def test_a_check_of_its_own_image_finds_nothing(self, subject: Subject, random: Random) -> None:
        """What the writer makes is sound."""
        for one in specimen.own(subject, self.disk_sizes, random):
            image = Image([source(medium) for medium in one.media])
            bad = [found.text for found in shape.check(subject.check(image), MOST) if found.severity]
            holds(not bad, f"{one.name}: {bad[:3]}")


def _layers(subject: Subject, specimens: list[Specimen]) -> Iterator[tuple[Specimen, Image, ImageInfo, Layer, int]]:
    """Every content of every image."""
    for one in specimens:
        image = Image([source(medium) for medium in one.media])
        info = subject.info(image)
        yield one, image, info, Layer(), info.virtual_size
        for snapshot in info.snapshots:
            yield one, image, info, Layer(LayerKind.SNAPSHOT, snapshot.id), snapshot.virtual_size


def _whole(subject: Subject, image: Image, info: ImageInfo, layer: Layer, size: int) -> list[Extent]:
    return shape.joined(shape.extents(subject.map(image, 0, size, layer), 0, size, info, MOST), info)


def _window(whole: list[Extent], size: int, random: Random) -> tuple[int, int]:
    """A window anywhere, often one that begins or ends at, before or after a border of extents."""
    border = random.choice(whole).start + random.choice((-512, -1, 0, 0, 1, 512))
    start = min(max(0, random.choice((border, random.randrange(size)))), size - 1)
    length = random.choice((1, 511, 512, 4096, 65536, 100_000, size, random.randrange(1, size + 1)))
    return start, min(length, size - start)
