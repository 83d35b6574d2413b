"""Deeds that reach outside: for files, descriptors, and other processes."""

from __future__ import annotations

from instar_sandbox.containment.deed import CRASH, FORBIDDEN, Deed

FOREIGN = tuple(b"%d" % number for number in (0, 1, 2, 3, 4, 7, 8, 10, 63, 64, 255, 1023, 0x7FFFFFFF))
"""Descriptors that are none of a worker's two files, 5 and 6; and those that its host has open."""
OPEN_THERE = tuple(b"foreign:%d" % index for index in range(4))
KVM_RUN, KVM_SET_USER_MEMORY_REGION, TIOCSTI, FIONBIO = 0xAE80, 0x4020AE46, 0x5412, 0x5421


def forbidden(group: str, name: str, title: str, *orders: bytes, survives: tuple[bytes, ...] = ()) -> Deed:
    """A deed that the first system call of must end the session."""
    return Deed(name, group, title, FORBIDDEN, orders or (name.encode(),), survives)


def each(verb: bytes, numbers: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The order for every number."""
    return tuple(verb + b" " + number for number in numbers)


FILES = (
    forbidden("files", "open", "open a file", b"open", b"open /etc/passwd", b"open /proc/self/mem", b"open /dev/null"),
    forbidden("files", "open-path", "open a place in the tree (O_PATH)"),
    forbidden("files", "open-object", "open a file by the io module"),
    forbidden("files", "open-relative", "open a file relative to a descriptor"),
    forbidden("files", "create", "create a file"),
    forbidden("files", "overwrite", "overwrite a file by its name"),
    forbidden(
        "files",
        "overwrite-foreign",
        "write to what the host has open, by /proc",
        *(b"overwrite-foreign %d" % n for n in range(3)),
    ),
    forbidden("files", "stat", "look at a file", b"stat", b"access", b"fstat image", b"fstat 0"),
    forbidden(
        "files", "list", "list a folder", b"list /", b"list /proc/self/fd", b"readlink /proc/self/exe", b"getcwd"
    ),
    forbidden(
        "files",
        "change",
        "rename, remove, link, cut, change rights",
        b"unlink",
        b"rename",
        b"link",
        b"symlink",
        b"mkdir",
        b"chmod",
        b"truncate",
        b"chdir /",
    ),
    forbidden(
        "files", "import", "import a module from a file", b"import wave", survives=(b"refused: ModuleNotFoundError",)
    ),
)

DESCRIPTORS = (
    forbidden(
        "descriptors",
        "pread",
        "read others' descriptors at a place",
        *each(b"pread", FOREIGN),
        *each(b"pread", OPEN_THERE),
    ),
    forbidden(
        "descriptors",
        "read",
        "read others' descriptors, and the shared position",
        *each(b"read", tuple(n for n in FOREIGN if n != b"3")),
        *each(b"read", OPEN_THERE),
        b"read image",
        b"read shared",
    ),
    forbidden(
        "descriptors",
        "write",
        "write outside its answer",
        *each(b"write", tuple(n for n in FOREIGN if n not in (b"1", b"2", b"4"))),
        *each(b"write", OPEN_THERE),
    ),
    forbidden("descriptors", "write-image", "write to its image", b"write image", b"pwrite image"),
    forbidden(
        "descriptors",
        "write-shared",
        "write beyond shared memory",
        b"write shared",
        b"pwrite shared 4094",
        b"pwrite shared 4096",
        b"pwrite shared 9223372036854775800",
        b"ftruncate shared",
    ),
    forbidden("descriptors", "seek", "move the shared position", b"seek image", b"seek shared", b"read-at-position"),
    forbidden(
        "descriptors",
        "copy",
        "copy, close, pass on descriptors",
        b"dup image",
        b"dup 3",
        b"dup2",
        b"close image",
        b"close 3",
        b"close 4",
        b"sendfile",
        b"pipe",
    ),
    forbidden(
        "descriptors",
        "flags",
        "change what the host shares of its image",
        b"set-flags",
        b"lock",
        b"fsync",
        b"ftruncate image",
        b"descriptor-owner",
    ),
    forbidden(
        "descriptors",
        "ioctl",
        "ioctl, KVM's among them",
        *(
            b"ioctl %d %d" % (number, request)
            for number in (0, 3, 4, 5, 6, 7, 8, 9, 10, 31, 63)
            for request in (KVM_RUN, KVM_SET_USER_MEMORY_REGION, TIOCSTI, FIONBIO)
        ),
    ),
    forbidden("descriptors", "map-file", "map its image into memory"),
)

PROCESSES = (
    forbidden(
        "processes",
        "socket",
        "make a socket",
        b"socket unix",
        b"socket inet",
        b"socket inet6",
        b"socket netlink",
        b"socket vsock",
        b"socket alg",
        b"socket packet",
        b"socketpair",
    ),
    forbidden("processes", "fork", "make a process", b"fork", b"spawn"),
    forbidden("processes", "exec", "run another program"),
    forbidden("processes", "thread", "start a thread"),
    forbidden(
        "processes",
        "signal-parent",
        "send signals to its host and others",
        b"kill parent",
        b"kill parent 0",
        b"kill -1",
        b"kill-group",
        b"pidfd",
    ),
    forbidden("processes", "signal-itself", "send signals to itself", b"kill self 15", b"kill self 9", b"raise"),
    forbidden(
        "processes",
        "limits",
        "change limits and priorities",
        b"ignore-limit",
        b"raise-limit",
        b"limit-parent",
        b"renice",
        b"renice-parent",
        b"pin-parent",
    ),
    forbidden("processes", "timers", "timers and sleep", b"alarm", b"timer", b"sleep"),
    forbidden(
        "processes", "rights", "change user, groups, root folder", b"become-root", b"drop-groups", b"chroot", b"umask"
    ),
    forbidden("processes", "curiosity", "ask about the system", b"uname", b"getppid", b"getuid", b"waitpid"),
    Deed("abort", "processes", "abort", CRASH, (b"abort",)),
)

EVERY = tuple(b"%d" % number for number in range(1024) if number not in (5, 6))
THOROUGH = (
    forbidden(
        "descriptors",
        "every-descriptor",
        "every descriptor but its own, by every call",
        *each(b"pread", EVERY),
        *each(b"read", tuple(n for n in EVERY if n != b"3")),
        *each(b"write", tuple(n for n in EVERY if n not in (b"1", b"2", b"4"))),
    ),
)
"""Deeds of thousands of sessions, done only when named."""
DEEDS = (*FILES, *DESCRIPTORS, *PROCESSES)
