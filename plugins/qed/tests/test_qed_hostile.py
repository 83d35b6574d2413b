"""Headers and tables that lie: a plain error in bounded time, in qemu-img's words."""

from __future__ import annotations

import random
import struct

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.budget import Budget, within
from instar_core.testing.medium import Disk, source
from instar_core.types import ProbeView

MIB = 1 << 20


@pytest.fixture
def good(builder):
    return builder.build(2 * MIB, {0: builder.DATA, 1: builder.DATA, 7: builder.ZERO}, header=2, backing=b"foo")


FIELDS = [
    (0, 0, "<I", "Image not in QED format"),
    (4, 0, "<I", "QED cluster size is invalid"),
    (4, 1000, "<I", "QED cluster size is invalid"),
    (4, 2048, "<I", "QED cluster size is invalid"),
    (4, 1 << 27, "<I", "QED cluster size is invalid"),
    (8, 0, "<I", "QED table size is invalid"),
    (8, 3, "<I", "QED table size is invalid"),
    (8, 32, "<I", "QED table size is invalid"),
    (8, 0xFFFFFFFF, "<I", "QED table size is invalid"),
    (12, 0xFFFFFFFF, "<I", "QED table offset is invalid"),
    (12, 9, "<I", "QED table offset is invalid"),
    (12, 0, "<I", "QED backing filename offset is invalid"),
    (16, 8, "<Q", "Unsupported QED features: 8"),
    (16, 1 << 63 | 3, "<Q", "Unsupported QED features: 8000000000000000"),
    (40, 1, "<Q", "QED table offset is invalid"),
    (40, 0, "<Q", "QED table offset is invalid"),
    (40, 4096, "<Q", "QED table offset is invalid"),
    (40, 1 << 40, "<Q", "QED table offset is invalid"),
    (40, (1 << 64) - 4096, "<Q", "QED table offset is invalid"),
    (48, 1, "<Q", "QED image size is invalid"),
    (48, 1 << 63, "<Q", "QED image size is invalid"),
    (48, (1 << 32) + 512, "<Q", "QED image size is invalid"),
    (56, 8190, "<I", "QED backing filename offset is invalid"),
    (56, 0xFFFFFFFF, "<I", "QED backing filename offset is invalid"),
    (60, 0xFFFFFFFF, "<I", "QED backing filename offset is invalid"),
    (60, 4096, "<I", "Failed to read backing filename"),
]


@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_a_header_out_of_bounds_is_refused(offset, value, layout, message, good, builder, subject):
    with pytest.raises(FormatError) as caught:
        subject.info(Image([bytes_source(builder.changed(good, offset, value, layout))]))
    assert caught.value.message == message


@pytest.mark.oracle
@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_qemu_refuses_it_in_the_same_words(offset, value, layout, message, good, builder, programs, tmp_path):
    path = tmp_path / "disk.qed"
    path.write_bytes(builder.changed(good, offset, value, layout))
    said = programs.img("info", "-f", "qed", path, check=False).stderr.decode()
    assert said == f"qemu-img: Could not open '{path}': {message}\n"


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(40))
def test_any_header_is_refused_as_by_qemu(seed, good, builder, programs, subject, tmp_path):
    choose = random.Random(seed)
    data = good
    for _ in range(choose.choice((1, 1, 2, 3))):
        offset, width = choose.choice(((4, 4), (8, 4), (12, 4), (16, 8), (40, 8), (48, 8), (56, 4), (60, 4)))
        old = int.from_bytes(data[offset : offset + width], "little")
        value = choose.choice((0, 1, 2, 3, old * 2, old + 512, old + 4096, 1 << 8 * width - 1, choose.getrandbits(12)))
        data = data[:offset] + (value % (1 << 8 * width)).to_bytes(width, "little") + data[offset + width :]
    if data[8] == 1:
        pytest.skip("qemu-img knows no tables of one cluster")
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    done = programs.img("info", "-f", "qed", path, check=False)
    try:
        subject.info(Image([bytes_source(data)]))
        said = ""
    except FormatError as error:
        said = f"qemu-img: Could not open '{path}': {error.message}\n"
    assert done.stderr.decode() == said


@pytest.mark.oracle
@pytest.mark.parametrize("size", (0, 3, 4, 20, 63, 64, 511, 4096, 8191, 8192, 12288, 16383, 16384, 16385))
def test_a_file_that_was_cut_is_refused_as_by_qemu(size, good, programs, subject, tmp_path):
    path = tmp_path / "disk.qed"
    path.write_bytes(good[:size])
    done = programs.img("info", "-f", "qed", path, check=False)
    try:
        subject.info(Image([bytes_source(good[:size])]))
        said = ""
    except FormatError as error:
        said = f"qemu-img: Could not open '{path}': {error.message}\n"
    assert done.stderr.decode() == said


@pytest.mark.parametrize("entry", (2, 4095, 4096, 4096 * 40, 1 << 40, (1 << 64) - 4096, (1 << 63) + 4096))
def test_an_entry_that_names_no_cluster_of_the_file_is_an_error_at_the_map(entry, builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB, {3: entry, 5: builder.DATA}, header=2))])
    with pytest.raises(FormatError, match=r"data cluster at .* is not inside the file"):
        list(subject.map(image, 0, 2 * MIB))
    assert len(list(subject.map(image, 0, 3 * 4096))) == 1
    assert len(list(subject.map(image, 4 * 4096, 4 * 4096))) == 3


@pytest.mark.parametrize("entry", (1, 4096, 4096 * 40, 512, 1 << 40, (1 << 64) - 4096))
def test_a_table_that_is_not_in_the_file_is_an_error_at_the_map(entry, builder, subject):
    data = builder.build(2 * MIB, {5: builder.DATA}, header=2)
    image = Image([bytes_source(builder.changed(data, 2 * 4096, entry))])
    with pytest.raises(FormatError, match=r"L2 table at .* is not inside the file"):
        list(subject.map(image, 0, 2 * MIB))


def test_a_run_that_leaves_the_file_is_an_error_where_it_does(builder, subject):
    image = Image(
        [bytes_source(builder.build(2 * MIB, {number: 4096 * (number + 5) for number in range(9)}, tail=bytes(8192)))]
    )
    with pytest.raises(FormatError, match=f"data cluster at {4096 * 7:#x} is not inside the file"):
        list(subject.map(image, 0, 2 * MIB))
    (one, *_) = subject.map(image, 0, 8192)
    assert (one.length, one.offset) == (8192, 4096 * 5)


def test_huge_tables_of_nothing_cost_little_memory_and_time(subject):
    """Clusters of 64 MiB, tables of a gigabyte, in a file that is a hole."""
    head = struct.pack("<4sIIIQQQQQII", b"QED\0", 1 << 26, 16, 1, 0, 0, 0, 1 << 26, 1 << 62, 0, 0)
    disk = Disk(head)
    disk.truncate(1 << 40)
    image = Image([source(disk)])
    with within(Budget(seconds=20)):
        assert len(list(subject.map(image, 0, 1 << 62))) == 1
        assert sum(1 for _ in subject.check(image)) == 2


def test_a_probe_wants_the_magic_alone(subject, good):
    for head, wanted in ((good[:65536], True), (b"QED\0", True), (b"QED", False), (b"QED\1" + good[4:], False)):
        assert bool(subject.probe(ProbeView(head, head[-4096:], len(head)))) == wanted


def test_a_name_is_handed_over_as_it_stands(builder, subject):
    for name in (b"/etc/passwd", b"json:{}", b"nbd://x", b"../../x", b"\xff\xfe"):
        (reference,) = subject.info(Image([bytes_source(builder.build(MIB, {}, backing=name))])).references
        assert reference.name == name
