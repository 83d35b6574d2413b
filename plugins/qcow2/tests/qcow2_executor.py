"""Executes a writer's edits on files, so that other people's programs can judge the result."""

from __future__ import annotations

import os
import zlib

from instar_qcow2.write import write

from instar_core.source import Image, descriptor_source
from instar_core.types import Barrier, Copy, Create, Geometry, Kind, Punch, Put, Reserve, Run, Truncate, Zero

DEFAULTS = dict(cluster_size=65536, extended_l2=False, compression_type="zlib", lazy_refcounts=False, refcount_bits=16)


def request(size, **options):
    """A Create request with qemu's defaults; `compress` and `backing` are not options."""
    compress = options.pop("compress", False)
    return Create(size, {**DEFAULTS, **options}, b"x.qcow2", compress=compress)


def deflate(data):
    coder = zlib.compressobj(6, zlib.DEFLATED, -12)
    return coder.compress(data) + coder.flush()


def zstd(data):
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


class Files:
    """The devices of an image as open files; counts what the writer did."""

    def __init__(self, path, extra=()):
        self.paths = [str(path), *map(str, extra)]
        self.descriptors = [os.open(name, os.O_RDWR | os.O_CREAT, 0o644) for name in self.paths]
        self.copied = {}
        self.largest = 0

    def close(self):
        for descriptor in self.descriptors:
            os.close(descriptor)

    def image(self):
        return Image([descriptor_source(d, os.fstat(d).st_size) for d in self.descriptors])

    def write(self, device, offset, data):
        done = 0
        while done < len(data):
            done += os.pwrite(self.descriptors[device], memoryview(data)[done:], offset + done)

    def apply(self, edit, offered=None):
        if isinstance(edit, Put):
            self.largest = max(self.largest, len(edit.data))
            self.write(0 if not edit.device else edit.device, edit.offset, edit.data)
        elif isinstance(edit, Copy):
            for at, data in offered(edit):
                self.write(edit.device, edit.offset + at, data)
        elif isinstance(edit, (Zero, Punch, Reserve)):
            size = os.fstat(self.descriptors[edit.device]).st_size
            end = edit.offset + edit.length
            if isinstance(edit, Punch):
                end = min(end, size)
            elif edit.length:
                os.posix_fallocate(self.descriptors[edit.device], edit.offset, edit.length)
            at = edit.offset
            while at < end and at < size:
                piece = min(1 << 20, end - at)
                if any(os.pread(self.descriptors[edit.device], piece, at)):
                    self.write(edit.device, at, bytes(piece))
                at += piece
        elif isinstance(edit, Truncate):
            os.ftruncate(self.descriptors[edit.device], edit.size)
        else:
            assert isinstance(edit, Barrier)


def planned(path, request, extra=()):
    """The edits of a change to the image, none of them done."""
    files = Files(path, extra)
    try:
        return list(write(files.image(), request, ()))
    finally:
        files.close()


def carry_out(path, edits, extra=()):
    """The edits are done."""
    files = Files(path, extra)
    try:
        for edit in edits:
            files.apply(edit)
    finally:
        files.close()


def make(path, created, content=None, ranges=(), extra=(), *, encrypt=None, key=None):
    """Creates the image that `created` asks for at `path`, filled with `ranges` of `content`.

    A range is (start, length, kind); DATA units of a compressing geometry are encoded here unless they grow.
    What is copied goes through encrypt(cipher, key, data, start, offset) where the geometry has a cipher.
    Returns the geometry. Every Copy must stand for bytes that were offered, each once.
    """
    edits = None
    offers = {}

    def runs():
        for start, length, kind in ranges:
            if geometry.coding is None or kind == Kind.ZERO:
                offers[start] = (length, None)
                yield Run(start, length, kind)
                continue
            for at in range(start, start + length, geometry.unit):
                piece = content[at : min(at + geometry.unit, start + length)]
                stored = (zstd if geometry.coding.name == "zstd" else deflate)(piece.ljust(geometry.unit, b"\0"))
                if len(stored) < geometry.unit:
                    offers[at] = (len(piece), stored)
                    yield Run(at, len(piece), kind, len(stored), 1)
                else:
                    offers[at] = (len(piece), None)
                    yield Run(at, len(piece), kind)

    served = []
    zeros = [(start, length) for start, length, kind in ranges if kind == Kind.ZERO]

    def offered(edit):
        if geometry.cipher is None:
            return plain(edit)
        if any(start <= edit.start < start + length for start, length in zeros):
            piece = bytes(edit.length)
        else:
            ((_, piece),) = plain(edit)
        return [(0, encrypt(geometry.cipher, key, piece, edit.start, edit.offset))]

    def plain(edit):
        for start, (length, stored) in offers.items():
            if start <= edit.start < start + length:
                if stored is not None:
                    assert (edit.start, edit.length) == (start, len(stored))
                    served.append((start, length))
                    return [(0, stored)]
                assert edit.start + edit.length <= start + length
                served.append((edit.start, edit.length))
                return [(0, content[edit.start : edit.start + edit.length].ljust(edit.length, b"\0"))]
        raise AssertionError(f"{edit} was not offered")

    edits = write(None, created, runs())
    geometry = next(edits)
    assert isinstance(geometry, Geometry)
    files = Files(path, extra)
    try:
        for new, descriptor in zip(geometry.files, files.descriptors[1:], strict=True):
            if not created.options.get("keep_data_file"):
                os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, max(new.size, os.fstat(descriptor).st_size))
        os.ftruncate(files.descriptors[0], 0)
        barrier = False
        for edit in edits:
            barrier = barrier or isinstance(edit, Barrier)
            files.apply(edit, offered)
            if not barrier:
                assert os.pread(files.descriptors[0], 4, 0) != b"QFI\xfb", "the header came before the barrier"
    finally:
        files.close()
    wanted = sum(length for start, length, kind in ranges if kind == Kind.DATA)
    assert sum(length for _, length in served) == wanted
    assert len(set(served)) == len(served)
    assert files.largest <= 4 << 20
    return geometry
