"""Requests to the kernel that the os module lacks: block devices, shared extents, file attributes, fallocate's modes.

The numbers are those of linux/fs.h and linux/falloc.h, the same on every architecture that Python runs on but a few
(MIPS, PowerPC, SPARC encode directions differently; there these calls fail with ENOTTY, as if unsupported). So is
fallocate where the sandbox does not know the number of the system call.
"""

from __future__ import annotations

import errno
import fcntl
from struct import Struct

from instar_sandbox.jail.libc import call

BLKGETSIZE64 = 0x80081272
BLKSSZGET = 0x1268
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F
FICLONERANGE = 0x4020940D
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801C581F
FS_IOC_FSSETXATTR = 0x401C5820

FS_EXTENT_FL = 0x00080000
FS_NOCOW_FL = 0x00800000
FS_XFLAG_EXTSIZE = 0x00000800

KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02
ZERO_RANGE = 0x10

CLONE = Struct("=qQQQ")
"""src_fd, src_offset, src_length, dest_offset"""
RANGE = Struct("=QQ")
"""start, length"""
FLAGS = Struct("=q")
XATTR = Struct("=IIIII8s")
"""fsx_xflags, fsx_extsize, fsx_nextents, fsx_projid, fsx_cowextsize, padding"""

UNSUPPORTED = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EPERM, errno.ETXTBSY, errno.EISDIR}
)
"""What the kernel answers where a request is not for this kind of file."""


def device_size(descriptor: int) -> int:
    """The size of a block device in bytes."""
    return int.from_bytes(fcntl.ioctl(descriptor, BLKGETSIZE64, bytes(8)), "little")


def sector_size(descriptor: int) -> int:
    """The logical sector size of a block device in bytes."""
    return int.from_bytes(fcntl.ioctl(descriptor, BLKSSZGET, bytes(4)), "little")


def discard(descriptor: int, offset: int, length: int) -> bool:
    """The range of a block device is given up; whether the device can do that. It need not read as zeros after."""
    return _try(descriptor, BLKDISCARD, RANGE.pack(offset, length))


def zero_out(descriptor: int, offset: int, length: int) -> bool:
    """The range of a block device reads as zeros; whether the kernel could do that."""
    return _try(descriptor, BLKZEROOUT, RANGE.pack(offset, length))


def clone(source: int, source_offset: int, target: int, target_offset: int, length: int) -> bool:
    """Both files share the range; whether their file system can do that. Nothing is copied either way."""
    return _try(target, FICLONERANGE, CLONE.pack(source, source_offset, length, target_offset))


def has_extents(descriptor: int) -> bool:
    """Whether this is a file of ext4 that is mapped by extents: no other file system says so of its files."""
    try:
        return bool(_flags(descriptor) & FS_EXTENT_FL)
    except OSError:
        return False


def set_nocow(descriptor: int) -> bool:
    """An empty file is written in place from now on (btrfs); whether its file system knows that."""
    try:
        flags = _flags(descriptor)
    except OSError:
        return False
    return _try(descriptor, FS_IOC_SETFLAGS, FLAGS.pack(flags | FS_NOCOW_FL))


def set_extent_size_hint(descriptor: int, length: int) -> bool:
    """The file system allocates the file in extents of this length (XFS); whether it knows that."""
    try:
        flags, _, extents, project, cow, rest = XATTR.unpack(
            fcntl.ioctl(descriptor, FS_IOC_FSGETXATTR, bytes(XATTR.size))
        )
    except OSError:
        return False
    changed = XATTR.pack(flags | FS_XFLAG_EXTSIZE, length, extents, project, cow, rest)
    return _try(descriptor, FS_IOC_FSSETXATTR, changed)


def punch(descriptor: int, offset: int, length: int) -> bool:
    """The range of a file is a hole; whether its file system can do that. The size stays."""
    return _fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, offset, length)


def zero_range(descriptor: int, offset: int, length: int) -> bool:
    """The range of a file is allocated and reads as zeros; whether its file system can do that. The file may grow."""
    return _fallocate(descriptor, ZERO_RANGE, offset, length)


def allocate(descriptor: int, offset: int, length: int) -> bool:
    """The range of a file has its place, its content stays; whether its file system can do that. The file may grow."""
    return _fallocate(descriptor, 0, offset, length)


def _flags(descriptor: int) -> int:
    flags: int = FLAGS.unpack(fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8)))[0]
    return flags


def _try(descriptor: int, request: int, argument: bytes) -> bool:
    """Whether the request is one for this descriptor; other failures are raised as OSError."""
    try:
        fcntl.ioctl(descriptor, request, argument)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> bool:
    while True:
        try:
            call("fallocate", descriptor, mode, offset, length)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            if error.errno in UNSUPPORTED or error.errno == errno.ENODEV:
                return False
            raise
        return True
