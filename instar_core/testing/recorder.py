"""Remembers how an operation that runs in this process changes files on disk, down to each request to the kernel.

    with Recorder(["disk.qcow2"]) as record:
        resize("disk.qcow2", 1 << 20)
    record.verify()

What was remembered is for instar_core.testing.crash, which makes of it what power cuts would have left. It is not for
several threads that use one Recorder's files, and a process that is forked while it watches is not heard.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from instar_core.dataplane import ioctls
from instar_core.dataplane.sparse import file_extents
from instar_core.testing.executor import Step, play
from instar_core.testing.law import Broken
from instar_core.testing.medium import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

CHUNK = 1 << 20


def load(path: str) -> Disk:
    """The file as it is now; its holes cost nothing."""
    disk = Disk()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        for offset, length, data in file_extents(descriptor, 0, size):
            for at in range(offset, offset + length if data else offset, CHUNK):
                disk.write(at, os.pread(descriptor, min(CHUNK, offset + length - at), at))
        disk.truncate(size)
    finally:
        os.close(descriptor)
    return disk


def store(disk: Disk, path: str) -> None:
    """A new file at the path holds the content; what was never written is a hole."""
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, disk.size)
        for start, length in disk.ranges():
            os.pwrite(descriptor, disk.read(start, max(0, min(length, disk.size - start))), start)
    finally:
        os.close(descriptor)


class Recorder:
    """A context manager. `base` are the files as they were when it was made, `steps` what was done to them since.

    A flush of one file is a step "sync" of its device; it is remembered and not done. `fault` is asked before each
    step, with its number, and may raise OSError in place of it.
    """

    def __init__(self, paths: Sequence[str], fault: Callable[[int, Step], None] | None = None) -> None:
        self.paths = list(paths)
        self.base = [load(path) for path in paths]
        self.steps: list[Step] = []
        self._fault = fault
        self._devices = {_identity(os.stat(path)): number for number, path in enumerate(paths)}
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Recorder:
        for module, name, wrapper in (
            (os, "pwrite", self._pwrite),
            (os, "pwritev", self._pwritev),
            (os, "ftruncate", self._ftruncate),
            (os, "posix_fallocate", self._allocate),
            (os, "copy_file_range", self._copy),
            (os, "fdatasync", self._sync),
            (os, "fsync", self._sync),
            (ioctls, "punch", self._zeroing("punch")),
            (ioctls, "zero_range", self._zeroing("zero")),
            (ioctls, "allocate", self._allocate),
            (ioctls, "clone", self._clone),
        ):
            real = getattr(module, name)
            self._before.append((module, name, real))
            setattr(module, name, wrapper(real))
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, real in self._before:
            setattr(module, name, real)
        self._before.clear()

    def verify(self) -> None:
        """All that happened to the files was heard. Raises Broken where a file is not what the steps make of it."""
        files = [disk.copy() for disk in self.base]
        for step in self.steps:
            play(files, step)
        for path, disk in zip(self.paths, files, strict=True):
            now = load(path)
            same = now.size == disk.size and all(
                now.read(start, length) == disk.read(start, length) for start, length in [*now.ranges(), *disk.ranges()]
            )
            if not same:
                raise Broken(f"'{path}' was changed by something that the recorder does not hear")

    def _heard(self, descriptor: int, what: str, offset: int = 0, data: bytes = b"", length: int = 0) -> Step | None:
        """The step, if it is for a watched file. Raises what the fault raises."""
        device = self._devices.get(_identity(os.fstat(descriptor)))
        if device is None:
            return None
        step = Step(what, device, offset, data, length)
        if self._fault is not None:
            self._fault(len(self.steps), step)
        return step

    def _note(self, step: Step | None) -> None:
        if step is not None:
            self.steps.append(step)

    def _pwrite(self, real: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
        def pwrite(descriptor: int, data: Any, offset: int) -> int:
            step = self._heard(descriptor, "write", offset, bytes(data))
            done = real(descriptor, data, offset)
            self._note(step and step._replace(data=step.data[:done]))
            return done

        return pwrite

    def _pwritev(self, real: Callable[..., int]) -> Callable[..., int]:
        def pwritev(descriptor: int, buffers: Sequence[Any], offset: int, *flags: int) -> int:
            step = self._heard(descriptor, "write", offset, b"".join(buffers))
            done = real(descriptor, buffers, offset, *flags)
            self._note(step and step._replace(data=step.data[:done]))
            return done

        return pwritev

    def _ftruncate(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def ftruncate(descriptor: int, size: int) -> None:
            step = self._heard(descriptor, "truncate", 0, b"", size)
            real(descriptor, size)
            self._note(step)

        return ftruncate

    def _allocate(self, real: Callable[[int, int, int], T]) -> Callable[[int, int, int], T]:
        def allocate(descriptor: int, offset: int, length: int) -> T:
            size = os.fstat(descriptor).st_size
            step = self._heard(descriptor, "truncate", 0, b"", max(size, offset + length))
            done = real(descriptor, offset, length)
            self._note(None if done is False else step)
            return done

        return allocate

    def _copy(self, real: Callable[..., int]) -> Callable[..., int]:
        def copy_file_range(source: int, target: int, count: int, *offsets: int) -> int:
            step = self._heard(target, "write", offsets[1])
            done = real(source, target, count, *offsets)
            self._note(step and step._replace(data=os.pread(target, done, offsets[1])))
            return done

        return copy_file_range

    def _sync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            step = self._heard(descriptor, "sync")
            if step is None:
                real(descriptor)
            self._note(step)

        return sync

    def _zeroing(self, what: str) -> Callable[[Any], Callable[[int, int, int], bool]]:
        def wrapper(real: Callable[[int, int, int], bool]) -> Callable[[int, int, int], bool]:
            def zeroing(descriptor: int, offset: int, length: int) -> bool:
                step = self._heard(descriptor, what, offset, b"", length)
                done = real(descriptor, offset, length)
                self._note(step if done else None)
                return done

            return zeroing

        return wrapper

    def _clone(self, real: Callable[[int, int, int, int, int], bool]) -> Callable[[int, int, int, int, int], bool]:
        def clone(source: int, source_offset: int, target: int, target_offset: int, length: int) -> bool:
            step = self._heard(target, "write", target_offset)
            done = real(source, source_offset, target, target_offset, length)
            self._note(step._replace(data=os.pread(target, length, target_offset)) if step and done else None)
            return done

        return clone


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
