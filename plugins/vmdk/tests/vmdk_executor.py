"""A tiny host: offers runs of a disk's content to the writer and applies its edits to files in a folder."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from instar_vmdk import SPEC, hooks

from instar_core.source import Image, descriptor_source
from instar_core.types import (
    Barrier,
    Copy,
    Create,
    Geometry,
    Kind,
    Layer,
    Punch,
    Put,
    Role,
    Run,
    Span,
    Truncate,
    Zero,
)


class Written:
    """What applying a writer's edits did, besides the files: geometry, edits after the last barrier, largest put."""

    def __init__(self) -> None:
        self.geometry: Geometry | None = None
        self.after_barrier: list = []
        self.barriers = 0
        self.largest = 0
        self.edits = 0


def create(
    path: Path, size: int, content=b"", *, chunk: int = 1 << 20, skip=(), stop_before=None, **options
) -> Written:
    """Makes the image `path` of `size` bytes holding `content`, zeros after it; further arguments are create options.

    `skip` are byte ranges that a parent has, so that they are not offered. `backing` is the request's.
    """
    backing = options.pop("backing", None)
    compress = options.pop("compress", False)
    values = {option.name: None for option in SPEC.options}
    values.update(compat6=False, hwversion="undefined")
    values.update(options)
    request = Create(size, values, os.fsencode(path.name), entropy=os.urandom(64), compress=compress, backing=backing)
    offered: dict[int, bytes] = {}
    done = Written()

    def runs():
        geometry = done.geometry
        at = 0
        while at < size and (content or geometry.zeros):
            length = min(geometry.unit if geometry.coding else chunk, size - at)
            length = min(length, geometry.unit)
            while not geometry.coding and length < chunk and at + length < size:
                if zero(at) != zero(at + length) or parent(at) != parent(at + length):
                    break
                length = min(length + geometry.unit, size - at)
            data = content[at : at + length].ljust(length, b"\0")
            if parent(at):
                pass
            elif not any(data):
                if geometry.zeros:
                    yield Run(at, length, Kind.ZERO)
            elif geometry.coding:
                offered.clear()
                offered[at] = zlib.compress(data, 1)
                yield Run(at, length, Kind.DATA, len(offered[at]), 1)
            else:
                offered.clear()
                offered[at] = data
                yield Run(at, length)
            at += length

    def zero(at):
        return not any(content[at : at + done.geometry.unit])

    def parent(at):
        return any(low <= at < high for low, high in skip)

    files = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644)]
    try:
        for edit in hooks.instar_write(None, request, runs()):
            done.edits += 1
            if isinstance(edit, Geometry):
                done.geometry = edit
                for new in edit.files:
                    files.append(os.open(path.with_name(os.fsdecode(new.name)), os.O_RDWR | os.O_CREAT, 0o644))
                    os.ftruncate(files[-1], new.size)
                continue
            if isinstance(edit, Barrier):
                done.barriers += 1
                done.after_barrier = []
                if stop_before == "commit":
                    return done
                continue
            done.after_barrier.append(edit)
            apply(edit, files[edit.device], offered)
            if isinstance(edit, Put):
                done.largest = max(done.largest, len(edit.data))
    finally:
        for each in files:
            os.close(each)
    return done


def apply(edit, descriptor: int, offered: dict[int, bytes]) -> None:
    """One edit, done."""
    if isinstance(edit, Put):
        os.pwrite(descriptor, edit.data, edit.offset)
    elif isinstance(edit, Copy):
        start = max(at for at in offered if at <= edit.start)
        data = offered[start][edit.start - start :][: edit.length]
        assert len(data) == edit.length
        os.pwrite(descriptor, data, edit.offset)
    elif isinstance(edit, Truncate):
        os.ftruncate(descriptor, edit.size)
    elif isinstance(edit, (Zero, Punch)):
        os.pwrite(descriptor, bytes(edit.length), edit.offset)
    else:
        raise AssertionError(edit)


class Opened:
    """An image opened as the host does it: device 0 first, then the extents that it names."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.files = [os.open(path, os.O_RDONLY)]
        self.first = hooks.instar_info(self.image())
        self.names = [self.path]
        for reference in self.first.references:
            if reference.role == Role.EXTENT:
                self.names.append(self.path.parent / os.fsdecode(reference.name))
                self.files.append(os.open(self.names[-1], os.O_RDONLY))
        self.info = hooks.instar_info(self.image())

    def image(self) -> Image:
        return Image([descriptor_source(each, os.fstat(each).st_size) for each in self.files])

    def extents(self, start: int = 0, length: int | None = None) -> list:
        """The map of a window, checked to cover it exactly."""
        length = self.info.virtual_size - start if length is None else length
        made = list(hooks.instar_map(self.image(), Layer(), Span(start, length)))
        at = start
        for extent in made:
            assert extent.start == at and extent.length > 0, extent
            at += extent.length
        assert at == start + length
        return made

    def content(self, start: int = 0, length: int | None = None, parent: bytes = b"") -> bytes:
        """The bytes of a window; what the image does not have comes from `parent`."""
        parts = []
        for extent in self.extents(start, length):
            if extent.kind == Kind.ABSENT:
                data = parent[extent.start : extent.start + extent.length]
            elif extent.kind == Kind.ZERO:
                data = b""
            elif extent.coding:
                unit = self.info.codings[extent.coding - 1].unit
                stored = os.pread(self.files[extent.device], extent.stored, extent.offset)
                data = zlib.decompressobj().decompress(stored, unit)[extent.skip : extent.skip + extent.length]
            else:
                data = os.pread(self.files[extent.device], extent.length, extent.offset)
            parts.append(data.ljust(extent.length, b"\0"))
        return b"".join(parts)

    def ranges(self) -> list[dict]:
        """The map as qemu-img prints it, apart from holes inside flat extents."""
        made: list[dict] = []
        for extent in self.extents():
            data = extent.kind == Kind.DATA
            one = {
                "start": extent.start,
                "length": extent.length,
                "depth": 0,
                "present": extent.kind != Kind.ABSENT,
                "zero": not data,
                "data": data,
                "compressed": bool(extent.coding),
            }
            if data and not extent.coding:
                one["offset"] = extent.offset
            before = made[-1] if made else None
            if (
                before
                and {k: v for k, v in before.items() if k not in ("start", "length", "offset")}
                == {k: v for k, v in one.items() if k not in ("start", "length", "offset")}
                and ("offset" not in one or before["offset"] + before["length"] == one["offset"])
            ):
                before["length"] += one["length"]
            else:
                made.append(one)
        return made

    def findings(self) -> list:
        return list(hooks.instar_check(self.image()))

    def close(self) -> None:
        for each in self.files:
            os.close(each)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
