"""Changes of images that are there: judged by qemu-img, and by what a power cut leaves of them."""

from __future__ import annotations

import random
from importlib.util import find_spec

import pytest

from instar_core.changing import Changing
from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing import Subject, executor
from instar_core.testing.medium import Disk, source
from instar_core.testing.overwriting import INLINE, overwrite
from instar_core.testing.subject import load_spec
from instar_core.types import Empty, Kind, Rebase, Resize, Severity, Update

MIB = 1 << 20


def change(path, request):
    with Changing(str(path), INLINE, format="qcow") as image:
        image.apply(request)


@pytest.fixture(scope="module")
def subject():
    return Subject(load_spec("qcow"))


@pytest.fixture
def over(tmp_path, programs):
    """A function that makes an image, perhaps over a backing file of other content: its path and its disk's content."""

    def make(size, *, backing=None):
        path = tmp_path / "disk.qcow"
        if backing is None:
            programs.img("create", "-q", "-f", "qcow", path, size)
            return path, bytearray(size)
        below = random.Random(5).randbytes(backing)
        (tmp_path / "base.raw").write_bytes(below)
        programs.img("create", "-q", "-f", "qcow", "-b", "base.raw", "-F", "raw", path, size)
        return path, bytearray(below[:size].ljust(size, b"\0"))

    return make


def faults(subject, image):
    """What a check finds, the leaks left out."""
    return [found.text for found in subject.check(image) if getattr(found, "severity", 0) == Severity.CORRUPTION]


def sound(subject, path):
    assert not faults(subject, Image([bytes_source(path.read_bytes())]))


@pytest.mark.oracle
@pytest.mark.parametrize("compress", (False, True))
@pytest.mark.parametrize("backing", (None, 5 * MIB))
@pytest.mark.parametrize("seed", range(2))
def test_content_that_is_written_is_what_qemu_reads(seed, backing, compress, over, programs, subject):
    choose = random.Random(seed)
    path, disk = over(5 * MIB + 512 * 9, backing=backing)
    for _ in range(3):
        at = choose.randrange(0, len(disk) - 70000, 512)
        programs.io(path, f"write -P {at % 250 + 1} {at} 64k")
        disk[at : at + 65536] = bytes([at % 250 + 1]) * 65536
        spans = []
        for start in sorted(choose.sample(range(0, len(disk), 65536), 6)):
            length = min(len(disk) - start, choose.choice((65536, 4096, 30000)))
            disk[start : start + length] = choose.choice(
                (bytes(length), b"ab" * (length // 2), choose.randbytes(length))
            )
            spans.append((start, length))
        overwrite(str(path), "qcow", bytes(disk), spans, compress=compress)
        assert programs.content(path) == disk
        sound(subject, path)


@pytest.mark.oracle
def test_compressed_clusters_get_another_place_and_their_neighbours_keep_theirs(tmp_path, host, programs, subject):
    disk = bytearray(b"compress" * (MIB // 8))
    path = tmp_path / "disk.qcow"
    host.create(path, MIB, bytes(disk), compress=True)
    disk[4096:8192] = random.Random(1).randbytes(4096)
    disk[16384:20480] = bytes(4096)
    overwrite(str(path), "qcow", bytes(disk), [(4096, 4096), (16384, 4096)])
    assert programs.content(path) == disk
    sound(subject, path)


@pytest.mark.oracle
@pytest.mark.skipif(not find_spec("cryptography"), reason="cryptography is not installed")
def test_an_encrypted_image_is_written_to_in_its_key(tmp_path, programs):
    from instar_core.keyring import Keyring

    secret = ("--object", "secret,id=s,data=abc")
    path, disk = tmp_path / "disk.qcow", bytearray(2 * MIB + 512)
    programs.img("create", "-q", *secret, "-f", "qcow", "-o", "encryption=on,encrypt.key-secret=s", path, len(disk))
    for span in ((4096, 70000), (MIB, 4096), (2 * MIB, 512)):
        start, length = span
        disk[start : start + length] = random.Random(start).randbytes(length)
        programs.io(path, f"write -P 3 {start} 512", locked=True)
        given = {"encrypt.key-secret": "s"}
        settings = INLINE._replace(keyring=Keyring({"s": b"abc"}))
        overwrite(str(path), "qcow", bytes(disk), [span], open_options=given, settings=settings)
        assert programs.content(path, locked=True) == disk
    disk[4096:8192] = bytes(4096)
    overwrite(str(path), "qcow", bytes(disk), [(4096, 4096)], open_options=given, settings=settings)
    assert programs.content(path, locked=True) == disk


@pytest.mark.oracle
def test_an_image_that_is_emptied_is_what_qemu_makes_of_it(over, programs, tmp_path):
    path, disk = over(2 * MIB, backing=2 * MIB)
    programs.io(path, "write -P 3 0 1M")
    below = (tmp_path / "base.raw").read_bytes()
    change(path, Empty())
    ours = path.read_bytes()
    assert programs.content(path) == disk
    programs.io(path, "write -P 3 0 1M")
    programs.img("commit", "-q", "-f", "qcow", path, cwd=tmp_path)
    assert path.read_bytes() == ours
    assert (tmp_path / "base.raw").read_bytes() != below


@pytest.mark.oracle
@pytest.mark.parametrize("name", (b"b", b"base.raw", b"./" * 230 + b"base.raw", b"./" * 500 + b"base.raw", b""))
def test_the_backing_file_is_the_one_that_qemu_sees(name, over, programs, subject):
    """quirk("rebase-of-qcow")"""
    path, disk = over(2 * MIB, backing=2 * MIB)
    programs.io(path, "write -P 3 1M 64k")
    disk[MIB : MIB + 65536] = b"\3" * 65536
    (path.parent / "b").write_bytes((path.parent / "base.raw").read_bytes())
    for given in (b"./" * 300 + b"b", b"", name):
        change(path, Rebase({"name": given} if given else None))
        assert programs.answer("info", path).get("backing-filename", "").encode() == given
        sound(subject, path)
    if name:
        assert programs.content(path) == disk


@pytest.mark.oracle
@pytest.mark.parametrize("size", (3 * MIB, 64 * MIB, 5 << 30))
def test_a_disk_grows_with_a_longer_table_at_the_end_of_the_file(size, over, programs, subject):
    """quirk("resize-of-qcow")"""
    path, disk = over(2 * MIB + 512)
    programs.io(path, "write -P 3 1M 64k", f"write -P 4 {2 * MIB} 512")
    disk[MIB : MIB + 65536], disk[2 * MIB :] = b"\3" * 65536, b"\4" * 512
    change(path, Resize(size))
    programs.io(path, f"write -P 5 {size - 512} 512")
    sound(subject, path)
    if size < 1 << 30:
        assert programs.content(path) == disk.ljust(size - 512, b"\0") + b"\5" * 512
    assert programs.answer("info", path)["virtual-size"] == size


@pytest.mark.parametrize("request_", (Resize(MIB), Resize(3 * MIB, "full")))
def test_a_resize_that_cannot_be_is_refused(request_, host, tmp_path, subject):
    path = tmp_path / "disk.qcow"
    host.create(path, 2 * MIB, bytes(2 * MIB))
    with pytest.raises(FormatError):
        list(subject.write(Image([bytes_source(path.read_bytes())]), request_, iter(())))


@pytest.mark.oracle
@pytest.mark.parametrize("before, after", ((2 * MIB, 3 * MIB), (2 * MIB, 40 * MIB), (MIB + 512 * 3, 9 * MIB)))
def test_what_a_disk_grows_by_is_zeros_whatever_the_backing_file_has(before, after, over, programs, subject):
    from instar_core.operations.resize import resize

    path, disk = over(before, backing=5 * MIB)
    programs.io(path, "write -P 3 64k 64k")
    disk[65536 : 2 * 65536] = b"\3" * 65536
    resize(str(path), after, settings=INLINE)
    assert programs.content(path) == disk.ljust(after, b"\0")
    sound(subject, path)


def test_an_image_whose_backing_file_nobody_looked_at_does_not_grow(host, tmp_path, subject):
    path = tmp_path / "disk.qcow"
    host.create(path, 2 * MIB, bytes(2 * MIB), backing_file="b")
    with pytest.raises(FormatError, match="with a backing file cannot grow"):
        list(subject.write(Image([bytes_source(path.read_bytes())]), Resize(3 * MIB), iter(())))


def test_an_image_whose_clusters_lie_over_one_another_is_not_written_to(host, tmp_path, subject):
    path = tmp_path / "disk.qcow"
    host.create(path, 2 * MIB, b"x" * 8192)
    data = bytearray(path.read_bytes())
    l1 = int.from_bytes(data[40:48], "big")
    l2 = int.from_bytes(data[l1 : l1 + 8], "big")
    data[l2 + 8 : l2 + 16] = data[l2 : l2 + 8]
    for request in (Update(), Resize(4 * MIB), Rebase(None)):
        with pytest.raises(FormatError, match="must not be written to"):
            list(subject.write(Image([bytes_source(bytes(data))]), request, iter(())))


@pytest.mark.parametrize(
    "request_", (Resize(2 * MIB + 4096), Resize(64 * MIB), Rebase({"name": b"c" * 600}), Empty()), ids=str
)
def test_a_change_that_is_cut_anywhere_leaves_the_old_state_or_the_new(request_, host, tmp_path, subject):
    path = tmp_path / "disk.qcow"
    noise = random.Random(3).randbytes(100000)
    host.create(path, 2 * MIB, noise)
    history = executor.change(subject, [Disk(path.read_bytes())], request_)
    wanted = [state(subject, history.base[0]), state(subject, history.files[0])]
    assert wanted[0] != wanted[1]
    choose = random.Random(1)
    for step in range(len(history.steps) + 1):
        for _ in range(6):
            (file,) = history.cut(step, choose)
            assert state(subject, file) in wanted


def state(subject, disk):
    image = Image([source(disk)])
    assert not faults(subject, image)
    info = subject.info(image)
    parts = []
    for extent in subject.map(image, 0, info.virtual_size):
        data = disk.read(extent.offset, extent.length) if extent.kind == Kind.DATA else b""
        parts.append(data.ljust(extent.length, b"\0"))
    return info.references, b"".join(parts)


@pytest.mark.oracle
def test_zeros_that_are_to_last_cover_a_backing_file_that_is_named_later(over, programs, tmp_path):
    path, disk = over(2 * MIB)
    (tmp_path / "base.raw").write_bytes(b"b" * len(disk))
    overwrite(str(path), "qcow", bytes(disk), [(0, len(disk))], opaque=True)
    change(path, Rebase({"name": b"base.raw", "format": "raw"}))
    assert programs.content(path) == disk
