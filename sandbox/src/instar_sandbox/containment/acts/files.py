"""Files by name, and descriptors by number."""

from __future__ import annotations

import fcntl
import io
import mmap
import os

from instar_sandbox.containment.acts.world import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.containment.acts.world import Act, World

HARM = b"harm"


def open_file(world: World, rest: bytes) -> object:
    """A file opened for reading: the one named in the order, or the host's."""
    descriptor = os.open(rest.decode() or world.path, os.O_RDONLY)
    return os.read(descriptor, 16)


def open_path(world: World, _: bytes) -> object:
    """A descriptor that only stands for a place in the tree."""
    return os.open(world.path, os.O_PATH)


def open_file_object(world: World, _: bytes) -> object:
    """The same through a file object."""
    with io.open(world.path, "rb") as file:  # noqa: UP020  the io module's own name for it is what is tried
        return file.read(16)


def open_relative(world: World, _: bytes) -> object:
    """A file below a descriptor that is no folder."""
    return os.open("passwd", os.O_RDONLY, dir_fd=world.image)


def create(world: World, _: bytes) -> object:
    """A new file beside the host's."""
    return os.open(world.path + ".new", os.O_CREAT | os.O_WRONLY)


def overwrite(world: World, _: bytes) -> object:
    """The host's file written through its name."""
    return os.write(os.open(world.path, os.O_WRONLY), HARM)


def overwrite_foreign(world: World, rest: bytes) -> object:
    """What the host has open, reached through the folder of its descriptors, and written."""
    number = world.foreign[int(rest)]
    return os.write(os.open(f"/proc/{world.parent}/fd/{number}", os.O_WRONLY), HARM)


def import_module(_: World, rest: bytes) -> object:
    """A module that nobody imported before."""
    try:
        return __import__(rest.decode())
    except ImportError as error:
        raise Refused(type(error).__name__) from None


def pread(world: World, rest: bytes) -> object:
    """Bytes of a descriptor, at a place."""
    return os.pread(world.number(rest), 16, 0)


def read(world: World, rest: bytes) -> object:
    """Bytes of a descriptor, from where it stands."""
    return os.read(world.number(rest), 16)


def write(world: World, rest: bytes) -> object:
    """Bytes into a descriptor, to where it stands."""
    return os.write(world.number(rest), HARM)


def pwrite(world: World, rest: bytes) -> object:
    """Bytes into a descriptor, at a place."""
    number, _, place = rest.partition(b" ")
    return os.pwrite(world.number(number), HARM, int(place or b"0"))


def seek(world: World, rest: bytes) -> object:
    """The position that the host shares, moved."""
    return os.lseek(world.number(rest), 11, os.SEEK_SET)


def read_at_position(world: World, _: bytes) -> object:
    """The image read from, and so moved past, the shared position, by a call that is allowed at explicit ones."""
    return os.preadv(world.image, [bytearray(5)], -1)


def map_file(world: World, _: bytes) -> object:
    """The image mapped, where its host could be made to fault by whoever cuts it."""
    return mmap.mmap(world.image, 4096, prot=mmap.PROT_READ)[:16]


def control(world: World, rest: bytes) -> object:
    """A descriptor told to do something of its own."""
    number, request = (world.number(word) for word in rest.split())
    return fcntl.ioctl(number, request, 0)


def set_flags(world: World, _: bytes) -> object:
    """The flags that the host shares, changed."""
    return fcntl.fcntl(world.image, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)


def lock(world: World, _: bytes) -> object:
    """The image locked, so that others wait."""
    fcntl.flock(world.image, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "locked"


ACTS: dict[bytes, Act] = {
    b"open": open_file,
    b"open-path": open_path,
    b"open-object": open_file_object,
    b"open-relative": open_relative,
    b"create": create,
    b"overwrite": overwrite,
    b"overwrite-foreign": overwrite_foreign,
    b"stat": lambda world, _: os.stat(world.path),
    b"access": lambda world, _: os.access(world.path, os.F_OK),
    b"list": lambda _, rest: os.listdir(rest.decode()),
    b"readlink": lambda _, rest: os.readlink(rest.decode()),
    b"getcwd": lambda _world, _rest: os.getcwd(),
    b"chdir": lambda _, rest: os.chdir(rest.decode()),
    b"unlink": lambda world, _: os.unlink(world.path),
    b"rename": lambda world, _: os.rename(world.path, world.path + ".gone"),
    b"link": lambda world, _: os.link(world.path, world.path + ".link"),
    b"symlink": lambda world, _: os.symlink("/", world.path + ".link"),
    b"mkdir": lambda world, _: os.mkdir(world.path + ".folder"),
    b"chmod": lambda world, _: os.chmod(world.path, 0o640),
    b"truncate": lambda world, _: os.truncate(world.path, 0),
    b"import": import_module,
    b"pread": pread,
    b"read": read,
    b"write": write,
    b"pwrite": pwrite,
    b"seek": seek,
    b"read-at-position": read_at_position,
    b"map-file": map_file,
    b"ioctl": control,
    b"set-flags": set_flags,
    b"lock": lock,
    b"dup": lambda world, rest: os.dup(world.number(rest)),
    b"dup2": lambda world, _: os.dup2(world.image, 4),
    b"close": lambda world, rest: os.close(world.number(rest)),
    b"fstat": lambda world, rest: os.fstat(world.number(rest)),
    b"ftruncate": lambda world, rest: os.ftruncate(world.number(rest), 0),
    b"fsync": lambda world, _: os.fsync(world.image),
    b"sendfile": lambda world, _: os.sendfile(4, world.image, 0, 16),
    b"pipe": lambda _world, _rest: os.pipe(),
}
