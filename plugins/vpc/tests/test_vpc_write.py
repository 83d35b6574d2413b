"""Writing, judged by qemu-img, byte for byte where it can make the same, and by readers that share no code with it."""

from __future__ import annotations

import io
import os
import random
import time

import pytest
from instar_vpc import hooks
from instar_vpc.geometry import geometry, geometry_for
from instar_vpc.writedynamic import Filling

from instar_core.errors import FormatError, UsageError
from instar_core.operations.check import check
from instar_core.operations.compare import compare
from instar_core.operations.convert import convert
from instar_core.operations.create import create
from instar_core.operations.info import info
from instar_core.operations.map import map_
from instar_core.settings import Settings
from instar_core.sizes import parse_size
from instar_core.source import Image, bytes_source
from instar_core.types import Barrier, Copy, Create, Geometry, Kind, Put, Run

INLINE = Settings(sandbox="inline")
WAYS = ({}, {"subformat": "fixed"}, {"force_size": "on"}, {"subformat": "fixed", "force_size": "on"})
SIZES = (
    *("0", "1", "512", "34816", "35328", "1M", "4M", "10M", "504M", "508M", "2G", "8G", "31G", "32G", "127G", "130G"),
    *("136899993600", "136899993088", "137G", "1T", "2040G"),
)
OWN = ((24, 28), (64, 85))
"""Of a footer: time stamp; checksum, unique identifier."""


def listed(options):
    return ["-o", ",".join(f"{name}={value}" for name, value in options.items())] if options else []


def masked(path):
    """The metadata of an image, without what differs from one to the next."""
    with path.open("rb") as file:
        head = bytearray(file.read(4 << 20))
        file.seek(-512, os.SEEK_END)
        tail = bytearray(file.read())
        size = file.tell()
    for footer in (head, tail):
        if footer[:8] == b"conectix":
            for low, high in OWN:
                footer[low:high] = bytes(high - low)
    if len(head) == size:
        head[-512:] = tail
    return size, bytes(head), bytes(tail)


@pytest.mark.oracle
@pytest.mark.parametrize("options", WAYS, ids=lambda way: ",".join(f"{k}={v}" for k, v in way.items()) or "plain")
def test_empty_images_are_those_of_qemu_img_byte_for_byte(programs, tmp_path, options):
    here, there = tmp_path / "here.vhd", tmp_path / "there.vhd"
    for size in SIZES:
        done = programs.img("create", "-q", "-f", "vpc", *listed(options), there, size)
        assert not done.stderr
        create(str(here), format="vpc", size=parse_size(size), options=options, settings=INLINE)
        assert masked(here) == masked(there), size
        here.unlink()
        there.unlink()


@pytest.mark.oracle
@pytest.mark.parametrize("options", WAYS, ids=lambda way: ",".join(f"{k}={v}" for k, v in way.items()) or "plain")
def test_filled_images_are_those_of_qemu_img_byte_for_byte(programs, disk, tmp_path, options):
    here, there = tmp_path / "here.vhd", tmp_path / "there.vhd"
    programs.img("convert", "-f", "raw", "-O", "vpc", *listed(options), disk, there)
    convert([str(disk)], str(here), source_format="raw", target_format="vpc", options=options, settings=INLINE)
    assert masked(here) == masked(there)
    with here.open("rb") as one, there.open("rb") as other:
        one.seek(1024)
        other.seek(1024)
        assert one.read()[:-512] == other.read()[:-512]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """25 MiB and a bit with stretches of random bytes, zeros and holes."""
    chance = random.Random(7)
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    with path.open("wb") as file:
        file.truncate((25 << 20) + 3 * 512)
        for _ in range(14):
            file.seek(chance.randrange(25 << 20))
            file.write(chance.randbytes(chance.choice((1, 5000, 300_000))))
        file.seek(-100, os.SEEK_END)
        file.write(b"the end of the disk")
        file.truncate((25 << 20) + 3 * 512)
    return path


@pytest.mark.oracle
@pytest.mark.parametrize("options", WAYS, ids=lambda way: ",".join(f"{k}={v}" for k, v in way.items()) or "plain")
def test_other_readers_find_the_content_that_was_written(programs, disk, tmp_path, options):
    path = tmp_path / "disk.vhd"
    convert([str(disk)], str(path), source_format="raw", target_format="vpc", options=options, settings=INLINE)
    size = info(str(path), format="vpc", settings=INLINE)[0].image.virtual_size
    want = disk.read_bytes().ljust(size, b"\0")
    assert programs.content(path) == want
    report = check(str(path), format="vpc", settings=INLINE)
    assert (report.corruptions, report.leaks, report.findings) == (0, 0, ())
    read = 0
    for reader in (by_libvhdi, by_7zip, by_dissect):
        try:
            content = reader(programs, path, size)
        except pytest.skip.Exception:
            continue
        assert content == want, reader.__name__
        read += 1
    if not read:
        pytest.skip("neither libvhdi nor 7z nor dissect.hypervisor is installed")


def by_libvhdi(programs, path, size):
    file = programs.module("pyvhdi").file()
    file.open(str(path))
    try:
        assert file.media_size == size
        return file.read_buffer_at_offset(size, 0)
    finally:
        file.close()


def by_7zip(programs, path, size):
    return programs.run(programs.find("7z"), "x", "-so", "-tVHD", path).stdout.ljust(size, b"\0")


def by_dissect(programs, path, size):
    vhd = programs.module("dissect.hypervisor.disk.vhd")
    with path.open("rb") as file:
        stream = vhd.VHD(io.BytesIO(file.read()))
    return stream.read(size)


@pytest.mark.oracle
def test_too_large_a_disk_and_an_unknown_subformat_are_refused_in_the_words_of_qemu(programs, tmp_path):
    path = tmp_path / "disk.vhd"
    for size, options in ((2040 * 2**30 + 1, {}), (2041 * 2**30, {"subformat": "fixed"}), (4096, {"subformat": "x"})):
        done = programs.img("create", "-q", "-f", "vpc", *listed(options), path, str(size), check=False)
        assert done.returncode == 1
        with pytest.raises(FormatError) as caught:
            create(str(path), format="vpc", size=size, options=options, settings=INLINE)
        assert done.stderr.decode() == f"qemu-img: {path}: {caught.value}\n"


def test_the_smallest_geometry_that_holds_a_disk_is_a_fixed_point():
    chance = random.Random(8)
    for _ in range(2000):
        sectors = chance.randrange(1, 1 << chance.randrange(1, 28))
        made = geometry_for(sectors)
        have = made[0] * made[1] * made[2]
        assert sectors <= have <= sectors + 16 * 255
        assert geometry_for(have) == made or have == geometry(have)[0] * geometry(have)[1] * geometry(have)[2]


# Over a parent.


@pytest.fixture
def base(disk, tmp_path):
    path = tmp_path / "base.vhd"
    options = {"force_size": "on"}
    convert([str(disk)], str(path), source_format="raw", target_format="vpc", options=options, settings=INLINE)
    return path


def changed(disk):
    """The disk with some of it changed."""
    content = bytearray(disk.read_bytes())
    chance = random.Random(9)
    for start, length in ((0, 5000), ((2 << 20) - 700, 3000), (9 << 20, 3 << 20), (len(content) - 512, 512)):
        content[start : start + length] = chance.randbytes(length)
    content[(4 << 20) : (5 << 20)] = bytes(1 << 20)
    return bytes(content)


def changed_over(programs, disk, base, tmp_path):
    """A VHD over the base that holds only what was changed, made from a qcow2 over the same base's content."""
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    content, top = changed(disk), tmp_path / "top.qcow2"
    raw = tmp_path / "base.raw"
    raw.write_bytes(disk.read_bytes())
    programs.img("create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", top)
    old = disk.read_bytes()
    at = 0
    while at < len(content):
        if content[at : at + 512] != old[at : at + 512]:
            end = at
            while end < len(content) and content[end : end + 512] != old[end : end + 512] and end - at < 1 << 20:
                end += 512
            piece = tmp_path / "piece"
            piece.write_bytes(content[at:end])
            programs.io(top, f"write -s {piece} {at} {end - at}", format="qcow2")
            at = end
        else:
            at += 512
    path = tmp_path / "child.vhd"
    lenient = INLINE._replace(policy="qemu")
    convert(
        [str(top)],
        str(path),
        target_format="vpc",
        backing=base.name,
        backing_format="vpc",
        settings=lenient,
    )
    return content, path


@pytest.mark.oracle
def test_a_differencing_disk_holds_what_its_parent_does_not(programs, disk, base, tmp_path):
    content, path = changed_over(programs, disk, base, tmp_path)
    target = tmp_path / "target.raw"
    convert([str(path)], str(target), settings=INLINE)
    assert target.read_bytes() == content
    assert {one.depth for one in map_(str(path), settings=INLINE) if one.data} == {0, 1}
    report = check(str(path), settings=INLINE)
    assert (report.corruptions, report.leaks, report.findings) == (0, 0, ())
    assert path.stat().st_size < base.stat().st_size


@pytest.mark.oracle
def test_libvhdi_finds_the_same_in_a_differencing_disk(programs, disk, base, tmp_path):
    pyvhdi = programs.module("pyvhdi")
    content, path = changed_over(programs, disk, base, tmp_path)
    parent, child = pyvhdi.file(), pyvhdi.file()
    parent.open(str(base))
    child.open(str(path))
    assert child.disk_type == 4
    assert child.media_size == len(content)
    assert child.get_parent_filename() == "base.vhd"
    child.set_parent(parent)
    assert child.read_buffer_at_offset(len(content), 0) == content


def test_an_empty_differencing_disk_is_as_large_as_its_parent_and_shows_it(disk, base, tmp_path):
    path = tmp_path / "child.vhd"
    create(str(path), format="vpc", backing="base.vhd", backing_format="vpc", settings=INLINE)
    (said,) = info(str(path), settings=INLINE)
    assert said.image.virtual_size == disk.stat().st_size
    assert said.image.extra["subformat"] == "differencing"
    assert compare(str(path), str(base), settings=INLINE).identical
    assert path.stat().st_size < 1 << 16


def fields(backing, **options):
    """The reference of a child that is made with this backing."""
    request = Create(
        1 << 20,
        {"subformat": None, "force_size": None, **options},
        b"x",
        time.time_ns(),
        os.urandom(64),
        False,
        backing,
    )
    data = bytearray()
    for edit in hooks.instar_write(None, request, iter(())):
        if isinstance(edit, Put):
            data.extend(bytes(max(0, edit.offset + len(edit.data) - len(data))))
            data[edit.offset : edit.offset + len(edit.data)] = edit.data
    return hooks.instar_info(Image([bytes_source(bytes(data))])).references[0]


@pytest.mark.parametrize("name", ["base.vhd", "../a b/ü%41.vhd", "/x/y z.vhd", "dir/" + "n" * 250 + ".vhd"])
def test_the_name_of_a_parent_comes_back_as_it_was_given(name):
    identity = "01020304-0506-0708-090a-0b0c0d0e0f10"
    made = fields({"name": name.encode(), "format": "vpc", "size": 1 << 20, "identity": identity})
    assert (made.name, made.format, made.details["identity"]) == (name.encode(), "vpc", identity)
    assert "identity" not in fields({"name": name.encode(), "format": "vpc", "size": 1 << 20}).details


@pytest.mark.parametrize(
    ("backing", "options", "text"),
    [
        ({"name": b"a", "format": "qcow2"}, {}, "backing_file must be a vpc image"),
        ({"name": b"a\\b", "format": "vpc"}, {}, "a name with a backslash cannot be that of a parent"),
        ({"name": b"\xff", "format": "vpc"}, {}, "the name of the backing file is not UTF-8"),
        ({"name": b"x" * 40_000, "format": "vpc"}, {}, "the name of the backing file is too long"),
        ({"name": b"a", "format": "vpc"}, {"subformat": "fixed"}, "A fixed image can't have a backing file"),
    ],
)
def test_a_parent_that_cannot_be_is_refused(backing, options, text):
    with pytest.raises(FormatError, match=text):
        fields({"size": 1 << 20, **backing}, **options)


def test_a_child_is_only_made_of_the_format_of_its_parent(base, tmp_path):
    with pytest.raises((FormatError, UsageError)):
        create(str(tmp_path / "x.vhd"), format="vpc", backing=str(base), backing_format="raw", settings=INLINE)


# Memory, and the end of what can be addressed.


def edits(size, runs, **more):
    request = Create(size, {"subformat": None, "force_size": True}, b"x", 0, bytes(64), **more)
    return hooks.instar_write(None, request, runs)


def test_the_edits_of_a_full_disk_of_the_largest_size_stream_with_bounded_pieces():
    size = 2040 << 30
    largest = copies = 0
    after = None
    for edit in edits(size, iter([Run(0, size)])):
        if isinstance(edit, Put):
            largest = max(largest, len(edit.data))
        copies += isinstance(edit, Copy)
        if isinstance(edit, Barrier):
            after = copies
    assert copies == after == size >> 21
    assert largest <= 4 << 20


def test_a_file_that_would_pass_two_tib_is_refused():
    filling = Filling((1 << 41) - 512, False)
    with pytest.raises(FormatError, match="cannot grow past 2 TiB"):
        list(filling.place(Run(0, 512)))


def test_geometry_comes_first_and_footers_last():
    made = list(edits(4 << 20, iter([Run(0, 2 << 20), Run(2 << 20, 2 << 20, Kind.DATA)])))
    assert isinstance(made[0], Geometry)
    last = made[[isinstance(edit, Barrier) for edit in made].index(True) + 1 :]
    assert [(edit.offset, edit.data[:8]) for edit in last] == [
        (512, b"cxsparse"),
        (2048 + 2 * (512 + (2 << 20)), b"conectix"),
        (0, b"conectix"),
    ]
