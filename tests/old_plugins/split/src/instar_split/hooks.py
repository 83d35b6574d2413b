"""The head: eight zero bytes, magic, size of the disk, bytes of a stripe, whether the odd file comes first, and the
name of the image. Stripes lie in turn in NAME.even and NAME.odd.
"""

from struct import Struct

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Barrier, Copy, Create, Extent, Flag, Geometry, ImageInfo, Kind, Match, NewFile, Punch
from instar_core.types import Put, Reference, Role, Truncate, Update

MAGIC, HEAD = b"SPLITDSK", Struct("<8x8sQIB255p")
LARGEST = 1 << 40


def head(image):
    magic, size, stripe, odd, name = image.main.unpack(HEAD, 0)
    if magic != MAGIC or stripe % 512 or not 512 <= stripe <= 1 << 20 or size > LARGEST or odd > 1:
        raise FormatError("not the head of a split disk", offset=8)
    return size, stripe, odd, name


@hookimpl
def instar_probe(view):
    return Match("split") if view.head.startswith(MAGIC, 8) else None


@hookimpl
def instar_info(image):
    size, stripe, odd, name = head(image)
    files = [Reference(Role.EXTENT, name + end, details={"stripe": stripe}) for end in (b".even", b".odd")]
    return ImageInfo("split", size, stripe, tuple(files[::-1] if odd else files), dirty=None)


@hookimpl
def instar_map(image, span):
    _, stripe, _, _ = head(image)
    at, end = span.start, span.start + span.length
    while at < end:
        number, skip = divmod(at, stripe)
        length = min(stripe - skip, end - at)
        yield Extent(at, length, Kind.DATA, 1 + number % 2, number // 2 * stripe + skip, flags=Flag.HOLES)
        at += length


@hookimpl
def instar_write(image, request, runs):
    if isinstance(request, Create):
        size, stripe = -(-request.size // 512) * 512, request.options["stripe"]
        odd = request.options["order"] == "odd"
        if stripe % 512 or not 512 <= stripe <= 1 << 20 or size > LARGEST or len(request.name) > 200:
            raise FormatError("a split disk cannot be so", kind=ErrorKind.USAGE)
        names = [request.name + end for end in (b".even", b".odd")]
        files = tuple([NewFile(name) for name in (names[::-1] if odd else names)])
        yield Geometry(stripe, size, overhead=HEAD.size, files=files, full=request.options["filled"], measure_unit=512)
    elif isinstance(request, Update) and not request.opaque:
        size, stripe, odd, _ = head(image)
        yield Geometry(stripe, size, zeros=True)
    else:
        raise FormatError("split disks cannot be changed in this way", kind=ErrorKind.UNSUPPORTED)
    for run in runs:
        for number in range(run.start // stripe, -(-(run.start + run.length) // stripe)):
            start = number * stripe
            length = min(stripe, size - start)
            device, place = 1 + number % 2, number // 2 * stripe
            yield Punch(place, length, device) if run.kind == Kind.ZERO else Copy(start, place, length, device)
    whole, rest = divmod(size, 2 * stripe)
    for device, some in ((1, min(rest, stripe)), (2, max(0, rest - stripe))):
        yield Truncate(whole * stripe + some, device)
    yield Barrier()
    if isinstance(request, Create):
        yield Put(0, HEAD.pack(MAGIC, size, stripe, odd, request.name))
