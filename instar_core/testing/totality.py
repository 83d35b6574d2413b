"""Laws of totality: whatever the bytes, a hook ends with a value or a FormatError, and within its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_core import limits, signatures
from instar_core.errors import FormatError
from instar_core.source import Image
from instar_core.testing import fuzz, shape, specimen
from instar_core.testing.budget import within
from instar_core.testing.law import holds, needs
from instar_core.testing.laws import Laws
from instar_core.testing.medium import Disk, source
from instar_core.types import Capability, Geometry, ProbeView

if TYPE_CHECKING:
    from random import Random

    from instar_core.testing.specimen import Specimen
    from instar_core.testing.subject import Subject

SIZES = (0, 1, 511, 513, (1 << 40) + 512, 1 << 50, limits.VIRTUAL_SIZE, (1 << 63) - 1)
NOISE = 200


class TotalityLaws(Laws):
    """What holds for hostile images."""

    def test_a_probe_takes_any_bytes(self, subject: Subject, random: Random) -> None:
        """A probe never raises."""
        if not subject.implements("instar_probe"):
            return
        starts = [sign for sign in subject.spec.signatures if sign.offset >= 0]
        for number in range(NOISE):
            head = bytearray(random.randbytes(random.choice((0, 1, 7, 512, 4096, random.randrange(1 << 16)))))
            if starts and number % 2:
                sign = random.choice(starts)
                head[sign.offset : sign.offset + len(sign.magic)] = sign.magic[: random.choice((1, 99, 99))]
            tail = bytes(head[-limits.PROBE_TAIL :])
            size = random.choice((len(head), 0, limits.VIRTUAL_SIZE))
            with within(self.budget):
                shape.match(subject.probe(ProbeView(bytes(head), tail, size)), subject.spec.name)

    def test_hooks_answer_or_refuse_random_bytes(self, subject: Subject, random: Random) -> None:
        """Random bytes are no image, and hooks say so."""
        for length in (0, 1, 511, 512, 4096, 70_000):
            image = Image([source(Disk(random.randbytes(length)))])
            for hook in (subject.info, subject.check if subject.implements("instar_check") else subject.info):
                try:
                    with within(self.budget):
                        answer = hook(image)
                        if hook != subject.info:
                            shape.check(answer, self.budget.items)  # type: ignore[arg-type]
                except FormatError:
                    continue

    def test_hooks_answer_or_refuse_hostile_images(
        self, subject: Subject, specimens: list[Specimen], seed: int
    ) -> None:
        """Cut, flipped, spliced and extreme metadata gives answers of the right shape or a FormatError."""
        result = fuzz.mutate(
            specimens, subject, self.hostile_samples, seed, fields=self.hostile_fields, budget=self.budget
        )
        holds(not result.failures, str(result))
        holds(result.runs >= min(self.hostile_samples, len(specimens)), f"only {result.runs} images were tried")
        print(result)

    def test_decoding_answers_or_refuses_any_bytes(
        self, subject: Subject, specimens: list[Specimen], random: Random
    ) -> None:
        """A coding of the plugin's own makes at most a unit of any stored piece, or raises FormatError."""
        if not subject.implements("instar_decode"):
            return
        for one in specimens:
            for coding in subject.info(Image([source(medium) for medium in one.media])).codings:
                for length in (*(0, 1, 7, 512, coding.unit, 2 * coding.unit) * 4,):
                    stored = random.randbytes(length)
                    try:
                        with within(self.budget):
                            made = subject.decode(coding.params, stored)
                    except FormatError:
                        continue
                    holds(isinstance(made, bytes), f"instar_decode answers a {type(made).__name__}")
                    holds(len(made) <= coding.unit, f"instar_decode makes {len(made)} bytes of a unit of {coding.unit}")

    def test_its_own_images_are_known_by_signature_and_probe(self, subject: Subject, specimens: list[Specimen]) -> None:
        """What the format wrote, and the corpus, is found again."""
        if not subject.spec.signatures:
            return
        for one in specimens:
            view = specimen.view(one.media[0])
            holds(subject.probe(view) is not None, f"instar_probe does not know {one.name}")
            signed = any(signatures.stands(sign, *view) for sign in subject.spec.signatures)
            named = subject.spec.name in signatures.candidates(*view)
            holds(signed or named, f"no signature of the specification stands in {one.name}")

    @needs(Capability.CREATE)
    def test_a_writer_answers_or_refuses_any_size(self, subject: Subject, random: Random) -> None:
        """No size makes a writer fail in another way than by FormatError, or take more than its budget."""
        for size in SIZES:
            request = specimen.request(subject.spec, size, {}, random)
            try:
                with within(self.budget):
                    for count, edit in enumerate(subject.write(None, request, iter(()))):
                        holds(count or isinstance(edit, Geometry), "a writer begins with its Geometry")
                        if count > self.budget.items:
                            break
            except FormatError:
                continue
