"""A tiny host: offers runs of a disk's content to the writer and applies its edits to files."""

from __future__ import annotations

import os
from pathlib import Path

from instar_vhdx import SPEC, hooks

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
    Repair,
    Role,
    Run,
    Span,
    Truncate,
    Zero,
)


def create(path: Path, size: int, content: bytes = b"", *, chunk: int = 1 << 20, skip=(), stop=False, **options):
    """Makes the image `path` of `size` bytes holding `content`, zeros after it; further arguments are create options.

    `skip` are byte ranges that a parent has, so that they are not offered. `backing` is the request's. With `stop` the
    edits after the last barrier are not made. Returns the edits that were made, contents left out.
    """
    backing = options.pop("backing", None)
    values = {option.name: None for option in SPEC.options}
    values.update(log_size=1 << 20, block_size=0)
    values.update(options)
    entropy = options.pop("entropy", os.urandom(64))
    request = Create(size, values, os.fsencode(path.name), entropy=entropy, backing=backing)
    size = -(-size // 512) * 512
    told: dict = {}
    offered: dict[int, bytes] = {}

    def parent(at):
        return any(low <= at < high for low, high in skip)

    def runs():
        unit = told["geometry"].unit
        at = 0
        while at < size and (content or told["geometry"].zeros):
            length = min(unit, size - at)

            def zero(place):
                return not any(content[place : place + unit])

            while length < chunk and at + length < size:
                if zero(at) != zero(at + length) or parent(at) != parent(at + length):
                    break
                length = min(length + unit, size - at)
            if parent(at):
                pass
            elif not zero(at):
                offered.clear()
                offered[at] = content[at : at + length].ljust(length, b"\0")
                yield Run(at, length)
            elif told["geometry"].zeros:
                yield Run(at, length, Kind.ZERO)
            at += length

    done = []
    with open(path, "wb+") as file:
        for edit in hooks.instar_write(None, request, runs()):
            if isinstance(edit, Geometry):
                told["geometry"] = edit
                continue
            done.append(edit)
            if isinstance(edit, Barrier) and stop:
                break
            apply(edit, file.fileno(), offered)
    return done


def repair(path: Path, mode: str = "all") -> list:
    """The image's repair is done; the edits are returned."""
    with Opened(path) as opened:
        edits = list(hooks.instar_write(opened.image(), Repair(mode, 0, os.urandom(64)), iter(())))
    with open(path, "rb+") as file:
        for edit in edits:
            apply(edit, file.fileno(), {})
    return edits


def apply(edit, descriptor: int, offered: dict[int, bytes]) -> None:
    """One edit, done."""
    if isinstance(edit, Put):
        assert len(edit.data) <= 4 << 20
        os.pwrite(descriptor, edit.data, edit.offset)
    elif isinstance(edit, Copy):
        start = max(at for at in offered if at <= edit.start)
        data = offered[start][edit.start - start :][: edit.length]
        assert len(data) == edit.length
        os.pwrite(descriptor, data, edit.offset)
    elif isinstance(edit, Truncate):
        os.ftruncate(descriptor, edit.size)
    elif isinstance(edit, (Zero, Punch)):
        end = min(os.fstat(descriptor).st_size, edit.offset + edit.length)
        at = edit.offset
        while at < end:
            at += os.pwrite(descriptor, bytes(min(1 << 20, end - at)), at) if filled(descriptor, at) else 1 << 20
    else:
        assert isinstance(edit, Barrier), edit


def filled(descriptor: int, at: int) -> bool:
    """Whether the MiB at `at` holds anything: holes of large files stay holes."""
    return any(os.pread(descriptor, 1 << 20, at))


class Opened:
    """An image opened as the host does it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.file = os.open(path, os.O_RDONLY)
        self.info = hooks.instar_info(self.image())

    def image(self) -> Image:
        return Image([descriptor_source(self.file, os.fstat(self.file).st_size)])

    def parent(self) -> str | None:
        for reference in self.info.references:
            if reference.role == Role.BACKING:
                return os.fsdecode(reference.name)
        return None

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
            else:
                data = os.pread(self.file, extent.length, extent.offset)
            parts.append(data.ljust(extent.length, b"\0"))
        return b"".join(parts)

    def findings(self) -> list:
        return list(hooks.instar_check(self.image()))

    def close(self) -> None:
        os.close(self.file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
