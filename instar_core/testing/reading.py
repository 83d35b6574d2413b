"""Reading an image back through its map, as a host would, and comparing it with what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instar_core import codecs
from instar_core.testing import sealing, shape
from instar_core.testing.law import Broken, holds
from instar_core.testing.subject import ACTIVE
from instar_core.types import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_core.source import Image
    from instar_core.testing.medium import Disk
    from instar_core.testing.subject import Subject
    from instar_core.types import Coding, Extent, Layer

CHUNK = 1 << 20
MANY = 1 << 20


def compare(
    subject: Subject,
    image: Image,
    files: Sequence[Disk],
    expected: Disk,
    layer: Layer = ACTIVE,
    absent: Callable[[int, int], None] | None = None,
) -> None:
    """The layer of the image reads as the disk. Raises Broken, naming the first place where it does not.

    `files` are what the image's devices lie in. Absent stretches are shown to `absent`, or else read as zeros.
    """
    info = subject.info(image)
    shape.info(info, subject.spec.name)
    decoder = Decoder(subject, sealing.unlocked(info).codings)
    sizes = [file.size for file in files]
    for extent in shape.extents(subject.map(image, 0, expected.size, layer), 0, expected.size, info, MANY):
        shape.inside(extent, info, sizes)
        if extent.kind == Kind.ABSENT and absent is not None:
            absent(extent.start, extent.length)
        elif extent.kind != Kind.DATA:
            _blank(expected, extent)
        elif extent.coding:
            stored = files[extent.device].read(extent.offset, extent.stored)
            content = decoder.content(extent, stored)[extent.skip : extent.skip + extent.length]
            _same(content.ljust(extent.length, b"\0"), expected.read(extent.start, extent.length), extent.start)
        else:
            _plain(files[extent.device], expected, extent)


def _blank(expected: Disk, extent: Extent) -> None:
    for at in range(0, extent.length, CHUNK):
        start, length = extent.start + at, min(CHUNK, extent.length - at)
        if not expected.blank(start, length):
            _same(bytes(length), expected.read(start, length), start)
        elif at == 0 and expected.blank(extent.start, extent.length):
            return


def _plain(file: Disk, expected: Disk, extent: Extent) -> None:
    for at in range(0, extent.length, CHUNK):
        length = min(CHUNK, extent.length - at)
        start, offset = extent.start + at, extent.offset + at
        if not expected.blank(start, length) or not file.blank(offset, length):
            have = file.read(offset, min(length, max(0, file.size - offset))).ljust(length, b"\0")
            _same(have, expected.read(start, length), start)


def _same(have: bytes, want: bytes, start: int) -> None:
    if have != want:
        at = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
        told = f"{have[at : at + 8].hex()}, not {want[at : at + 8].hex()}"
        raise Broken(f"the disk reads differently at {start + at}: {told}")


class Decoder:
    """Decodes the stored pieces of one image: with the core's codecs, or with the plugin's own hook."""

    def __init__(self, subject: Subject, codings: Sequence[Coding]) -> None:
        self._subject = subject
        self._codings = codings

    def content(self, extent: Extent, stored: bytes) -> bytes:
        """The unit that the piece decodes to. Raises FormatError where it does not."""
        coding = self._codings[extent.coding - 1]
        if coding.name in codecs.CODINGS:
            out = bytearray(coding.unit if coding.whole else len(stored))
            code = codecs.decoder(coding.name)(coding.params, coding.unit)
            place = extent.offset if coding.params.get("by") == "offset" else extent.start - extent.skip
            number = place // coding.unit * coding.params.get("iv_step", 1)
            return bytes(out[: code(memoryview(stored), memoryview(out), number)])
        holds(self._subject.implements("instar_decode"), f"nobody decodes {coding.name}")
        content = self._subject.decode(coding.params, stored)
        holds(isinstance(content, bytes), f"instar_decode answers a {type(content).__name__}")
        holds(len(content) <= coding.unit, f"instar_decode makes {len(content)} bytes of a unit of {coding.unit}")
        return content
