"""File names that an image should not be believed, and what is said of each where it names a backing file or a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .case import Fifo, File, Hard, Link, Place, Socket
from .outside import name as bait

JSON = b'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
PROTOCOL = "'{text}' names a protocol; backing files must be plain files"
MISSING = "Could not open '{text}': No such file or directory"
BEYOND = "the {noun} '{text}' lies outside the image's own folder {vm}"
ALIKE = "the backing file '{text}' is raw, not {format} as the image says"
"""Said of an empty file; where a raw disk is wanted it is one, of no bytes."""
UNLIKE = "the backing file '{text}' shows no sign of being a {format} disk"
ITSELF = "Image not in VMDK format"
"""Said of a descriptor in place of a sparse extent; a flat extent or a data file may be the image, whose bytes are its
owner's to show."""


class Name(NamedTuple):
    """A name, what else must be there for it, and its refusals.

    `backing` is what follows "Could not open backing file: ", `part` what is said where it names an extent or a data
    file. {text} stands for the name, {noun}, {format} and {vm} for what the image is, is said to be, and lies in.
    `reads` is the bait that a backing file is looked at for, in the sandbox, to see whether it is a disk.
    """

    key: str
    name: Callable[[Place], bytes]
    backing: str
    part: str
    files: tuple[tuple[str, File], ...] = ()
    reads: str = ""
    source: str = "CVE-2015-5163"


def fixed(name: bytes) -> Callable[[Place], bytes]:
    """The name, wherever the case is played."""
    return lambda _: name


def plain(key: str, name: bytes, message: str, part: str = "", *files: tuple[str, File], source: str = "") -> Name:
    """A name that is refused in the same words wherever it stands."""
    return Name(key, fixed(name), message, part or message, files, "", source or "names that are no disks")


def protocol(name: bytes, source: str = "CVE-2024-4467") -> Name:
    """A name that QEMU would hand to a driver. As a part it is only a file that is not there."""
    return Name(name.partition(b":")[0].decode() + " name", fixed(name), PROTOCOL, MISSING, source=source)


NAMES = (
    Name("absolute", lambda place: bait(place, "passwd").encode(), UNLIKE, BEYOND, reads="passwd"),
    Name("dots", fixed(b"../outside/passwd"), UNLIKE, BEYOND, reads="passwd"),
    Name("many dots", lambda place: b"../" * 30 + bait(place, "passwd")[1:].encode(), UNLIKE, BEYOND, reads="passwd"),
    Name("there and back", lambda place: b"../vm/../outside/passwd", UNLIKE, BEYOND, reads="passwd"),
    Name("symlink", fixed(b"link"), UNLIKE, BEYOND, (("link", Link("../outside/passwd")),), "passwd"),
    Name("linked folder", fixed(b"sub/passwd"), UNLIKE, BEYOND, (("sub", Link("../outside")),), "passwd"),
    Name("file: name", fixed(b"file:../outside/passwd"), UNLIKE, MISSING, reads="passwd"),
    plain("magic link", b"/proc/self/fd/0", "'{text}' leads through a magic link"),
    plain("magic folder", b"/proc/self/cwd/../outside/passwd", "'{text}' leads through a magic link"),
    plain("magic root", b"/proc/self/root/etc/passwd", "'{text}' leads through a magic link"),
    plain("standard input", b"/dev/stdin", "'{text}' leads through a magic link"),
    plain("file of proc", b"/proc/self/environ", ALIKE, BEYOND),
    plain("zeros without end", b"/dev/zero", "the {noun} '{text}' is a character device"),
    plain("terminal", b"/dev/tty", "the {noun} '{text}' is a character device"),
    plain("pipe", b"pipe", "the {noun} '{text}' is a FIFO", "", ("pipe", Fifo())),
    plain("pipe outside", b"../outside/fifo", "the {noun} '{text}' is a FIFO"),
    plain("socket", b"socket", "the {noun} '{text}' is a socket", "", ("socket", Socket())),
    plain("folder", b".", "the {noun} '{text}' is a folder"),
    plain("loop of links", b"round", "'{text}' leads through a magic link", "", ("round", Link("round"))),
    plain("itself", b"x", "Backing file '{text}' creates an infinite loop.", ITSELF),
    plain("itself by another name", b"./././x", "Backing file '{text}' creates an infinite loop.", ITSELF),
    plain(
        "itself by a hard link", b"same", "Backing file '{text}' creates an infinite loop.", ITSELF, ("same", Hard("x"))
    ),
    protocol(b"nbd://127.0.0.1:1/x"),
    protocol(b"nbd+unix:///x?socket=/tmp/x"),
    protocol(b"http://127.0.0.1:1/x"),
    protocol(b"ssh://127.0.0.1:1/x"),
    protocol(b"fat:rw:/etc"),
    protocol(b"blkdebug::x"),
    protocol(b"null-co://"),
    protocol(JSON),
    plain("json of a folder", b"json:/x", PROTOCOL, MISSING),
    plain("line feed", b"a\nnew line", MISSING),
    plain("escape", b"\x1b]0;owned\x07\x1b[2J", MISSING),
    plain("no UTF-8", b"\xff\xfe\x80", MISSING),
    plain("right to left", "\u202egnp.exe".encode(), MISSING),
    plain("long", b"n" * 900, "Could not open '{text}': File name too long"),
    plain("deep", b"d/" * 500 + b"x", "Could not open '{text}': No such file or directory"),
)
