"""Changing lines of a text descriptor: all others stay as they are, byte by byte. Sizes are sectors."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vmdk.descriptor import ACCESS
from instar_vmdk.layout import NO_PARENT
from instar_vmdk.text import quotable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HINT = b"parentFileNameHint"


def identified(text: bytes, cid: int) -> bytes:
    """The text with another CID, in as many digits as it had."""

    def other(line: bytes) -> bytes:
        head, _, value = line.partition(b"=")
        digits = len(value.strip())
        return b"%s=%0*x" % (head, digits, cid % (1 << 4 * max(1, min(8, digits))) or 1)

    return _changed(text, b"CID", other)


def stands_on(text: bytes, name: bytes, parent_cid: int | None) -> bytes:
    """The text of an image that has this parent; none if the name is empty. Without `parent_cid` it keeps its own.

    Where the name gets shorter its line is filled up with blanks, so that nothing after it moves. Raises FormatError
    (USAGE) for a name that cannot be written.
    """
    if not name:
        parent_cid = NO_PARENT

    def other(line: bytes) -> bytes:
        head, _, value = line.partition(b"=")
        return line if parent_cid is None else b"%s=%0*x" % (head, len(value.strip()), parent_cid)

    def hint(line: bytes) -> bytes:
        made = b'%s="%s"' % (HINT, quotable(name)) if name else b"#"
        return made.ljust(len(line))

    return _changed(_changed(text, b"parentCID", other), HINT, hint)


def sized(text: bytes, extent: int, sectors: int, total: int) -> bytes:
    """The text where the extent with this number, from 0 on, has so many sectors, and the disk `total`.

    Cylinders are as many as fit, where the text has a geometry. Raises FormatError (UNSUPPORTED) where the line is
    missing.
    """
    lines = text.split(b"\n")
    found = [number for number, line in enumerate(lines) if line.strip().startswith(ACCESS)]
    if extent >= len(found):
        raise FormatError("the descriptor has no line for the extent", kind=ErrorKind.UNSUPPORTED)
    line = lines[found[extent]]
    words = line.split(None, 2)
    before = line[: len(line) - len(line.lstrip())]
    made = b"%s%s %d %s" % (before, words[0], sectors, words[2])
    lines[found[extent]] = made.ljust(len(line)) if len(made) < len(line) else made
    text = b"\n".join(lines)
    track = _number(text, b"ddb.geometry.heads") * _number(text, b"ddb.geometry.sectors")
    if track:
        text = _changed(text, b"ddb.geometry.cylinders", lambda _: b'ddb.geometry.cylinders = "%d"' % (total // track))
    return text


def _changed(text: bytes, key: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The text with the first line of this key changed."""
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        head, equals, _ = line.partition(b"=")
        if equals and head.strip() == key:
            lines[number] = change(line.rstrip(b"\r")) + (b"\r" if line.endswith(b"\r") else b"")
            break
    return b"\n".join(lines)


def _number(text: bytes, key: bytes) -> int:
    for line in text.split(b"\n"):
        head, equals, value = line.partition(b"=")
        if equals and head.strip() == key:
            digits = value.strip().strip(b'"')
            return int(digits) if digits.isdigit() and len(digits) < 10 else 0
    return 0
