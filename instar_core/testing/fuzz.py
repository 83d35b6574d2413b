"""Hostile images against the hooks of a format, for as many runs as one likes.

The laws of a test run use it for a few hundred; long runs call `mutate` with their own numbers.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from instar_core.errors import FormatError
from instar_core.source import Image
from instar_core.testing import hostile, shape, specimen
from instar_core.testing.budget import Budget, OverBudget, within
from instar_core.testing.law import Broken
from instar_core.testing.medium import source
from instar_core.types import Capability, Layer, LayerKind, SnapshotEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from instar_core.testing.hostile import Mutation
    from instar_core.testing.medium import Medium
    from instar_core.testing.specimen import Specimen
    from instar_core.testing.subject import Subject
    from instar_core.types import ImageInfo

HOOKS = ("probe", "info", "map", "snapshots", "check", "snapshot")
WINDOWS = 4
SNAPSHOTS = 2


class Failure(NamedTuple):
    """A hook that neither answered as the contract wants nor raised FormatError."""

    image: str
    mutation: str
    hook: str
    error: str
    seed: int


class Statistics(NamedTuple):
    """What became of the runs: hooks that answered, hooks that refused, by hook, and the failures."""

    runs: int
    answered: dict[str, int]
    refused: dict[str, int]
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        told = ", ".join(f"{hook} {self.answered[hook]}+{self.refused[hook]}" for hook in self.answered)
        lines = [f"{self.runs} hostile images; answered+refused: {told}; {len(self.failures)} failures"]
        lines += [f"  {f.hook} of {f.image}, {f.mutation} (seed {f.seed}): {f.error}" for f in self.failures[:20]]
        return "\n".join(lines)


def mutate(
    images: Sequence[Specimen],
    hooks: Subject,
    runs: int,
    seed: int,
    *,
    fields: Sequence[tuple[int, int]] = (),
    budget: Budget = Budget(),  # noqa: B008 - immutable
    most_failures: int = 20,
) -> Statistics:
    """So many mutations of the images, in turn, each shown to every hook. The same for the same seed."""
    random = Random(seed)  # noqa: S311 - tests must repeat

    def cases() -> Iterator[tuple[Specimen, Mutation]]:
        for number, image in enumerate(images):
            share = runs // len(images) + (number < runs % len(images))
            places = specimen.places(hooks, image.media)
            for mutation in hostile.mutations(image.media, places, fields, random, share):
                yield image, mutation

    return show(cases(), hooks, seed, random=random, budget=budget, most_failures=most_failures)


def show(
    cases: Iterable[tuple[Specimen, Mutation]],
    hooks: Subject,
    seed: int,
    *,
    random: Random | None = None,
    budget: Budget = Budget(),  # noqa: B008 - immutable
    most_failures: int = 20,
) -> Statistics:
    """Each image with its mutation is shown to every hook, until there are so many failures. `seed` is only reported
    where `random`, which chooses windows, is given."""
    random = random or Random(seed)  # noqa: S311 - tests must repeat
    trial = _Trial(hooks, budget, seed)
    done = 0
    for image, mutation in cases:
        trial.run(image.name, mutation.title, hostile.apply(image.media, mutation), random)
        done += 1
        if len(trial.failures) >= most_failures:
            break
    return Statistics(done, trial.answered, trial.refused, tuple(trial.failures))


class _Trial:
    """Shows images to the hooks and counts what they do."""

    def __init__(self, subject: Subject, budget: Budget, seed: int) -> None:
        self.subject = subject
        self.budget = budget
        self.seed = seed
        self.answered = dict.fromkeys(HOOKS, 0)
        self.refused = dict.fromkeys(HOOKS, 0)
        self.failures: list[Failure] = []
        self._name = self._title = ""

    def run(self, name: str, title: str, media: Sequence[Medium], random: Random) -> None:
        """Every hook has seen the image."""
        self._name, self._title = name, title
        subject = self.subject
        image = Image([source(medium) for medium in media])
        self._try("probe", lambda: self._probe(media[0]), refusal=False)
        found: list[ImageInfo] = []
        self._try("info", lambda: found.append(self._info(image)))
        if not found:
            return
        info = found[0]
        self._try("map", lambda: self._map(image, info, Layer(), info.virtual_size, random))
        for snapshot in info.snapshots[:SNAPSHOTS]:
            layer = Layer(LayerKind.SNAPSHOT, snapshot.id)
            self._try("snapshots", lambda one=snapshot, of=layer: self._map(image, info, of, one.virtual_size, random))  # type: ignore[misc]
        if subject.implements("instar_check"):
            self._try("check", lambda: self._check(image))
        if subject.can(Capability.SNAPSHOT):
            edit = SnapshotEdit(random.choice(("create", "delete")), "a", specimen.TIME)
            self._try("snapshot", lambda: self._change(image, edit))

    def _try(self, hook: str, call: Callable[[], object], *, refusal: bool = True) -> None:
        try:
            with within(self.budget):
                call()
        except FormatError as error:
            if refusal:
                self.refused[hook] += 1
            else:
                self._failed(hook, f"it raises FormatError: {error}")
        except OverBudget as error:
            self._failed(hook, str(error))
        except Broken as error:
            self._failed(hook, str(error))
        except RecursionError as error:
            self._failed(hook, f"it recurses without bound: {error}")
        except Exception as error:  # whatever else comes out is the failure that is looked for
            self._failed(hook, f"it raises {type(error).__name__}: {error}")
        else:
            self.answered[hook] += 1

    def _failed(self, hook: str, error: str) -> None:
        self.failures.append(Failure(self._name, self._title, hook, error, self.seed))

    def _probe(self, medium: Medium) -> None:
        if self.subject.implements("instar_probe"):
            shape.match(self.subject.probe(specimen.view(medium)), self.subject.spec.name)

    def _info(self, image: Image) -> ImageInfo:
        info = self.subject.info(image)
        shape.info(info, self.subject.spec.name)
        return info

    def _map(self, image: Image, info: ImageInfo, layer: Layer, size: int, random: Random) -> None:
        """The whole map as far as the budget goes, and small windows anywhere."""
        for start, length in ((0, size), *_windows(size, random)):
            stream = self.subject.map(image, start, length, layer)
            for extent in shape.extents(stream, start, length, info, self.budget.items):
                del extent

    def _check(self, image: Image) -> None:
        shape.check(self.subject.check(image), self.budget.items)

    def _change(self, image: Image, edit: SnapshotEdit) -> None:
        for count, _ in enumerate(self.subject.write(image, edit, iter(()))):
            if count > self.budget.items:
                return


def _windows(size: int, random: Random) -> list[tuple[int, int]]:
    made = []
    for _ in range(WINDOWS if size else 0):
        start = random.choice((0, size - 1, random.randrange(size)))
        made.append((start, min(size - start, random.choice((1, 512, 65536, 1 << 20)))))
    return made
