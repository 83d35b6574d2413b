"""A tiny host: offers runs of a disk's content to the writer, applies its edits to a file, and reads images."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from instar_qcow import SPEC, hooks

from instar_core.source import Image, descriptor_source
from instar_core.types import Barrier, Copy, Create, Geometry, Kind, Layer, Put, Run, Span, Truncate, Zero

KEY = b"abc".ljust(16, b"\0")
"""The passphrase that every encrypted image here has, as a key."""


def deflate(data: bytes) -> bytes:
    """A bare deflate stream with a window of 12 bits."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -12)
    return engine.compress(data) + engine.flush()


def inflate(data: bytes, unit: int) -> bytes:
    """The first bytes, at most a unit, of a bare deflate stream."""
    return zlib.decompressobj(-15).decompress(data, unit)


def sectors(data: bytes, first: int, *, decrypt: bool) -> bytes:
    """AES-128-CBC over each sector of 512 bytes, the vector being the sector's number."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    made = []
    for at in range(0, len(data), 512):
        cipher = Cipher(algorithms.AES(KEY), modes.CBC((first + at // 512).to_bytes(16, "little")))
        engine = cipher.decryptor() if decrypt else cipher.encryptor()
        made.append(engine.update(data[at : at + 512]))
    return b"".join(made)


class Written:
    """What applying a writer's edits did, besides the file."""

    def __init__(self) -> None:
        self.geometry: Geometry | None = None
        self.after_barrier: list = []
        self.barriers = 0
        self.largest = 0


def request(size: int, **options) -> Create:
    """A request with these options; `backing` and `compress` are the request's own."""
    backing, compress = options.pop("backing", None), options.pop("compress", False)
    values = {option.name: None for option in SPEC.options} | options
    return Create(size, values, b"disk.qcow", compress=compress, backing=backing)


def create(path: Path, size: int, content: bytes = b"", *, skip=(), chunk=1 << 20, stop=None, **options) -> Written:
    """Makes the image holding `content`, zeros after it; with no content, nothing is offered.

    `skip` are byte ranges that a parent has, so that they are not offered.

    `stop` is the number of the edit before which it is left.
    """
    done = Written()
    offered: dict[int, bytes] = {}

    def runs():
        unit = done.geometry.unit
        end = -(-size // 512) * 512 if content else 0
        at = 0
        while at < end:
            length = min(unit, end - at)
            if done.geometry.coding is None:
                while length < chunk and at + length < end and state(at, unit) == state(at + length, unit):
                    length = min(length + unit, end - at)
            data = content[at : at + length].ljust(length, b"\0")
            zero, elsewhere = state(at, unit)
            offered.clear()
            if not elsewhere and not zero:
                stored = deflate(data.ljust(unit, b"\0")) if done.geometry.coding else data
                if done.geometry.coding and len(stored) < unit:
                    offered[at] = stored
                    yield Run(at, length, Kind.DATA, len(stored), 1)
                else:
                    offered[at] = data
                    yield Run(at, length)
            elif not elsewhere and done.geometry.zeros:
                offered[at] = bytes(length)
                yield Run(at, length, Kind.ZERO)
            at += length

    def state(at, unit):
        return not any(content[at : at + unit]), any(low <= at < high for low, high in skip)

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for number, edit in enumerate(hooks.instar_write(None, request(size, **options), runs())):
            if number == stop:
                break
            done.after_barrier.append(edit)
            if isinstance(edit, Geometry):
                done.geometry = edit
            elif isinstance(edit, Barrier):
                done.barriers += 1
                done.after_barrier = []
            elif isinstance(edit, Put):
                done.largest = max(done.largest, len(edit.data))
                os.pwrite(descriptor, edit.data, edit.offset)
            elif isinstance(edit, Copy):
                start = max(at for at in offered if at <= edit.start)
                data = offered[start][edit.start - start :][: edit.length]
                assert len(data) == edit.length
                if done.geometry.cipher is not None:
                    data = sectors(data, edit.start // 512, decrypt=False)
                os.pwrite(descriptor, data, edit.offset)
            elif isinstance(edit, Truncate):
                os.ftruncate(descriptor, edit.size)
            elif isinstance(edit, Zero):
                os.pwrite(descriptor, bytes(edit.length), edit.offset)
            else:
                raise AssertionError(edit)
    finally:
        os.close(descriptor)
    return done


class Opened:
    """An image, opened."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.image = Image([descriptor_source(self.descriptor, os.fstat(self.descriptor).st_size)])
        self.info = hooks.instar_info(self.image)

    def extents(self, start: int = 0, length: int | None = None) -> list:
        """The map of a window, checked to cover it exactly."""
        length = self.info.virtual_size - start if length is None else length
        at = start
        made = list(hooks.instar_map(self.image, Layer(), Span(start, length)))
        for extent in made:
            assert extent.start == at and extent.length > 0, extent
            at += extent.length
        assert at == start + length
        return made

    def content(self, start: int = 0, length: int | None = None, parent: bytes = b"") -> bytes:
        """The bytes of a window; what the image does not have comes from `parent`."""
        return b"".join(
            self._piece(extent, parent).ljust(extent.length, b"\0") for extent in self.extents(start, length)
        )

    def _piece(self, extent, parent: bytes) -> bytes:
        if extent.kind == Kind.ABSENT:
            return parent[extent.start : extent.start + extent.length]
        if not extent.coding:
            return os.pread(self.descriptor, extent.length, extent.offset)
        coding = self.info.codings[extent.coding - 1]
        if coding.whole:
            stored = os.pread(self.descriptor, extent.stored, extent.offset)
            return inflate(stored, coding.unit)[extent.skip : extent.skip + extent.length]
        lead = extent.start % 512
        length = -(-(lead + extent.length) // 512) * 512
        stored = os.pread(self.descriptor, length, extent.offset - lead).ljust(length, b"\0")
        return sectors(stored, extent.start // 512, decrypt=True)[lead : lead + extent.length]

    def ranges(self) -> list[dict]:
        """The map as qemu-img prints it."""
        made: list[dict] = []
        for extent in self.extents():
            data = extent.kind == Kind.DATA
            one = {
                "start": extent.start,
                "length": extent.length,
                "depth": 0,
                "present": data,
                "zero": not data,
                "data": data,
                "compressed": extent.coding == 1,
            }
            if data and not extent.coding:
                one["offset"] = extent.offset
            before = made[-1] if made else None
            same = before and all(before[key] == one[key] for key in ("present", "compressed"))
            if same and ("offset" not in one or before["offset"] + before["length"] == one["offset"]):
                before["length"] += one["length"]
            else:
                made.append(one)
        return made

    def findings(self) -> list:
        """What check finds, without the tally."""
        return list(hooks.instar_check(self.image))[:-1]

    def tally(self):
        """The counts of a check."""
        return list(hooks.instar_check(self.image))[-1]

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
