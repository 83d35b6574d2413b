"""Images to try the laws on: those of the corpus, and those that the format's own writer makes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from instar_core import limits, options
from instar_core.errors import FormatError, InstarError
from instar_core.source import Image
from instar_core.testing import content
from instar_core.testing.executor import Made, make
from instar_core.testing.medium import Disk, File, Watched, source
from instar_core.types import Capability, Create, ProbeView, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

    from instar_core.testing.medium import Medium
    from instar_core.testing.subject import Subject
    from instar_core.types import FormatSpec, Geometry

NAME = b"image"
TIME = 1_700_000_000_000_000_000
FULL_MOST = 16 << 20
"""A writer that wants every unit is not given disks larger than this."""


class Specimen(NamedTuple):
    """An image: where it comes from, and what its devices lie in."""

    name: str
    media: tuple[Medium, ...]


class Unfit(Exception):
    """The disk is too large to be offered in full; no law is broken."""


def given(spec: FormatSpec, changed: Mapping[str, str]) -> dict[str, Any]:
    """Every option of the format as a writer gets it: those named as a user would type them, else the default."""
    table = options.table(spec)
    known = {option.name for option in table}
    return options.parse(table, {name: text for name, text in changed.items() if name in known})


def variants(spec: FormatSpec) -> list[dict[str, str]]:
    """Option lists worth trying: none, then each choice of each option and each switch turned, one at a time."""
    made: list[dict[str, str]] = [{}]
    for option in spec.options:
        if option.type == "bool":
            made.append({option.name: "off" if option.default in options.TRUE else "on"})
        made.extend({option.name: choice} for choice in option.choices if choice != option.default)
    return made


def request(spec: FormatSpec, size: int, changed: Mapping[str, str], random: Random, **more: Any) -> Create:
    """A request for a new image."""
    return Create(size, given(spec, changed), NAME, TIME, random.randbytes(64), **more)


def written(
    subject: Subject, disk: Disk, changed: Mapping[str, str], random: Random, *, compress: bool = False
) -> Made:
    """The disk as an image of the format. Raises Unfit for one that is too large to be offered whole."""

    def offer(geometry: Geometry) -> Iterator[content.Offer]:
        if geometry.full and disk.size > FULL_MOST:
            raise Unfit
        disk.truncate(geometry.size)
        return content.offers(disk, geometry, compress=compress, random=random)

    return make(subject, request(subject.spec, disk.size, changed, random, compress=compress), offer)


def devices(subject: Subject, main: Disk, named: Mapping[bytes, Disk]) -> list[Disk]:
    """The files of a new image in the order in which its references name them; device 0 first."""
    info = subject.info(Image([source(main)]))
    names = {NAME: main, **named}
    return [main, *(names[item.name] for item in info.references if item.role != Role.BACKING and item.name in names)]


def opened(subject: Subject, name: str, image: bytes | str | os.PathLike[str]) -> Specimen:
    """An image of the corpus with the files beside it that it names."""
    if isinstance(image, bytes):
        return Specimen(name, (Disk(image),))
    media: list[Medium] = [File(image)]
    for item in subject.info(Image([source(media[0])])).references:
        if item.role != Role.BACKING:
            media.append(File(os.path.join(os.path.dirname(os.fspath(image)), os.fsdecode(item.name))))
    return Specimen(name, tuple(media))


def own(
    subject: Subject, sizes: Sequence[int], random: Random, base: Mapping[str, str] | None = None
) -> Iterator[Specimen]:
    """Images that the format's own writer makes, plain and compressed; none where it has no writer."""
    if not subject.can(Capability.FILL):
        return
    for size in sizes:
        for compress in (False, True) if subject.can(Capability.COMPRESS) else (False,):
            disk = content.scattered(random, size)
            try:
                made = written(subject, disk, base or {}, random, compress=compress)
            except (FormatError, Unfit):
                continue
            media = devices(subject, made.files[0], made.named())
            yield Specimen(f"own image of {size} bytes{', compressed' if compress else ''}", tuple(media))


def view(medium: Medium) -> ProbeView:
    """What a probe sees of a file."""
    head, tail = min(medium.size, limits.PROBE_HEAD), min(medium.size, limits.PROBE_TAIL)
    return ProbeView(medium.pread(head, 0), medium.pread(tail, medium.size - tail), medium.size)


def places(subject: Subject, media: Sequence[Medium]) -> list[tuple[int, int, int]]:
    """Where the metadata of an image lies: device, offset and length of all that its hooks read, in order."""
    watched = [Watched(medium) for medium in media]
    image = Image(watched)
    try:
        info = subject.info(image)
        for count, _ in enumerate(subject.map(image, 0, info.virtual_size)):
            if count > limits.BATCH:
                break
        if subject.implements("instar_check"):
            for count, _ in enumerate(subject.check(image)):
                if count > limits.BATCH:
                    break
    except InstarError:
        pass  # an image of the corpus may be a broken one; what was read until then counts
    return [(number, *asked) for number, one in enumerate(watched) for asked in one.asked]
