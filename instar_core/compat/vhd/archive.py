"""An archive of a chain, as XenServer keeps images, unpacked and made one image.

The archive is parsed in a sandbox, which sees nothing else and makes no file: it says numbers and content. Files are
made here, by names that are made of the numbers. Lengths are bytes.
"""

from __future__ import annotations

import os

import instar_sandbox

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import guests, limits, wire
from instar_core.compat.vhd.chains import discover_chain, fix_chain, parent
from instar_core.errors import ContractViolation, DeviceError, ErrorKind, FormatError, InstarError, SandboxError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.device import Device
    from instar_core.results import Progress
    from instar_core.settings import Settings

SUFFIX = ".vhd"
MEMBER, DATA, ZEROS = b"m", b"d", b"z"
"""Frames of the program that unpacks, see instar_core.worker.untar."""
HOLE = 64 << 10
"""Zeros of this length, at a place that is a multiple of it, are left out."""


def unpack(archive: str, folder: str, *, most: int = limits.UNPACKED, settings: Settings = DEFAULTS) -> list[str]:
    """The files 0.vhd, 1.vhd, … of the archive, a tar compressed by gzip, are in the folder; their paths, in order.

    Zeros take no room on disk. Raises FormatError, of kind REFUSED where the archive holds anything else (a link, a
    folder, another name), LIMIT where its files have more than `most` bytes together, MISSING where one of the numbers
    is not there; what was made then is removed. A file that is there already is not overwritten: DeviceError.
    """
    found: dict[int, Device] = {}
    source = devices.open_named(chains.plain(archive))
    done = False
    try:
        _receive(source, folder, most, settings, found)
        for number in range(len(found)):
            if number not in found:
                text = f"the archive has {len(found)} images, but no {number}{SUFFIX}"
                raise FormatError(text, kind=ErrorKind.MISSING)
        done = True
        return [found[number].path for number in sorted(found)]
    except InstarError as error:
        error.path = error.path or archive
        raise
    finally:
        source.close()
        for file in found.values():
            file.close()
            if not done:
                devices.remove(file.path)


def _receive(source: Device, folder: str, most: int, settings: Settings, found: dict[int, Device]) -> None:
    """What the sandbox says is in files, and these are in `found`. Raises FormatError and what else can go wrong."""
    place = settings.sandbox
    program = instar_sandbox.Program(guests.UNTAR, wire.encode([SUFFIX, most]))
    bounds = instar_sandbox.Limits(limits.CODEC_CPU, limits.WORKER_MEMORY, settings.timeout)
    snapshot = guests.snapshot(guests.LEAN, place)
    try:
        with instar_sandbox.start(place, program, (source.descriptor,), bounds, snapshot=snapshot) as session:
            writer: Writer | None = None
            room = most
            while True:
                frame = session.receive()
                tag = frame[:1]
                if writer is not None and tag in (DATA, ZEROS):
                    writer.take(frame)
                    continue
                if writer is not None and not writer.full:
                    tag = wire.ERROR if tag == wire.ERROR else b""
                if tag == wire.DONE:
                    return
                if tag == wire.ERROR:
                    raise _error(wire.decode(frame[1:]))
                if tag != MEMBER:
                    raise ContractViolation("an archive's worker says what cannot be")
                number, size = _member(wire.decode(frame[1:]), room, found)
                room -= size
                found[number] = devices.create(os.path.join(folder, f"{number}{SUFFIX}"), exclusive=True)[0]
                writer = Writer(found[number], size)
    except instar_sandbox.JailError as error:
        raise SandboxError(str(error)) from error


class Writer:
    """Puts content into a new file, one piece after the other, until it has its size."""

    def __init__(self, file: Device, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0
        try:
            os.ftruncate(file.descriptor, size)
        except OSError as error:
            raise _unwritten(file, error) from error

    @property
    def full(self) -> bool:
        """Whether all of the file has been said."""
        return self._at == self._size

    def take(self, frame: bytes) -> None:
        """A frame of content is in the file. Raises ContractViolation for more than it has room for, DeviceError."""
        zeros = frame[:1] == ZEROS
        length = int.from_bytes(frame[1:], "little") if zeros else len(frame) - 1
        if not 0 < length <= self._size - self._at:
            raise ContractViolation("an archive's worker says more of a member than it has")
        if not zeros:
            self._put(frame)
        self._at += length

    def _put(self, frame: bytes) -> None:
        at, end = 1, len(frame)
        while at < end:
            place = self._at + at - 1
            stop = min(end, at + HOLE - place % HOLE)
            if frame.count(0, at, stop) < stop - at:
                self._write(frame, at, stop, place)
            at = stop

    def _write(self, frame: bytes, at: int, stop: int, place: int) -> None:
        view = memoryview(frame)[at:stop]
        try:
            while view:
                done = os.pwrite(self._file.descriptor, view, place)
                view, place = view[done:], place + done
        except OSError as error:
            raise _unwritten(self._file, error) from error


def _unwritten(file: Device, error: OSError) -> DeviceError:
    text = f"could not write '{file.path}': {os.strerror(error.errno or 0)}"
    return DeviceError(text, errno=error.errno or 0)


def _member(value: object, room: int, found: dict[int, Device]) -> tuple[int, int]:
    """Number and size of a member that may be made. Raises ContractViolation, FormatError (REFUSED, LIMIT)."""
    if type(value) is not tuple or len(value) != 2:
        raise ContractViolation("an archive's worker says what cannot be")
    number, size = value
    if type(number) is not int or type(size) is not int or number < 0 or not 0 <= size <= room:
        raise ContractViolation("an archive's worker says what cannot be")
    if number >= limits.CHAIN_DEPTH:
        raise FormatError(f"the chain is longer than {limits.CHAIN_DEPTH} images", kind=ErrorKind.LIMIT)
    if number in found:
        raise FormatError(f"the archive holds {number}{SUFFIX} twice", kind=ErrorKind.REFUSED)
    return number, size


def _error(value: object) -> FormatError | ContractViolation:
    if type(value) is not tuple or len(value) != 2 or type(value[1]) is not str:
        return ContractViolation("the error of an archive's worker cannot be read")
    known = (ErrorKind.TRUNCATED, ErrorKind.CORRUPT, ErrorKind.LIMIT, ErrorKind.REFUSED, ErrorKind.UNSUPPORTED)
    return FormatError(value[1][: limits.MESSAGE], kind=value[0] if value[0] in known else None)


def replace_with_coalesced(
    image: str,
    *,
    folder: str | None = None,
    most: int = limits.UNPACKED,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The file `image`, an archive of a chain of VHDs, is one VHD that reads as the topmost of them.

    It is unpacked below `folder` (default: where it is itself), which must be on the same file system, and replaced
    when all is done; the new file has the owner, where that may be set, and the mode of the old one. Until then the
    archive is as it was. Raises FormatError as unpack and coalesce_chain do, and (REFUSED) where the last image of the
    chain has a parent itself.
    """
    import tempfile

    from instar_core.compat.vhd.coalescing import coalesce_chain

    with tempfile.TemporaryDirectory(prefix=".instar-", dir=folder or os.path.dirname(image) or ".") as own:
        unpack(image, own, most=most, settings=settings)
        chain = discover_chain(own)
        if not chain:
            raise FormatError("the archive holds no image", path=image)
        confined = settings._replace(roots=(own,))
        above = parent(chain[-1], settings=confined)
        if above is not None:
            text = f"the last image of the archive is the child of another one, '{above}'"
            raise FormatError(text, kind=ErrorKind.REFUSED, path=image)
        fix_chain(chain, settings=confined)
        made = coalesce_chain(chain, settings=confined, progress=progress, cancelled=cancelled)
        before = os.stat(image)
        try:
            if os.geteuid() == 0:
                os.chown(made, before.st_uid, before.st_gid)
            os.chmod(made, before.st_mode & 0o777)
            os.replace(made, image)
        except OSError as error:
            raise DeviceError(os.strerror(error.errno or 0), errno=error.errno or 0, path=image) from error
