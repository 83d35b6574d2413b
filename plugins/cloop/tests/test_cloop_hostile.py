"""Headers and tables that lie: a plain error, in qemu-img's words where it has some."""

from __future__ import annotations

import random
import struct

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.budget import Budget, within
from instar_core.testing.medium import Disk, source
from instar_core.types import Tally


@pytest.fixture
def good(builder):
    return builder.build([bytes([number]) * 4096 for number in range(4)])


FIELDS = [
    (128, 0, ">I", "block_size cannot be zero"),
    (128, 1, ">I", "block_size 1 must be a multiple of 512"),
    (128, 513, ">I", "block_size 513 must be a multiple of 512"),
    (128, 0xFFFFFFFF, ">I", "block_size 4294967295 must be a multiple of 512"),
    (128, (64 << 20) + 512, ">I", "block_size 67109376 must be 64 MB or less"),
    (128, 128 << 20, ">I", "block_size 134217728 must be 64 MB or less"),
    (132, 0xFFFFFFFF, ">I", "n_blocks 4294967295 must be 536870911 or less"),
    (132, 536870912, ">I", "n_blocks 536870912 must be 536870911 or less"),
    (132, 536870910, ">I", "image requires too many offsets, try increasing block size"),
    (132, 1 << 28, ">I", "image requires too many offsets, try increasing block size"),
    (132, 1 << 26, ">I", "image requires too many offsets, try increasing block size"),
    (136, 1 << 63, ">Q", "offsets not monotonically increasing at index 1, image file is corrupt"),
    (144, 0, ">Q", "offsets not monotonically increasing at index 1, image file is corrupt"),
    (152, 150, ">Q", "offsets not monotonically increasing at index 2, image file is corrupt"),
    (152, 1 << 63, ">Q", "invalid compressed block size at index 2, image file is corrupt"),
    (168, 0, ">Q", "offsets not monotonically increasing at index 4, image file is corrupt"),
    (168, 1 << 40, ">Q", "invalid compressed block size at index 4, image file is corrupt"),
    (168, (1 << 64) - 1, ">Q", "invalid compressed block size at index 4, image file is corrupt"),
]


@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_a_field_out_of_bounds_is_refused(offset, value, layout, message, good, builder, subject):
    with pytest.raises(FormatError) as caught:
        subject.info(Image([bytes_source(builder.changed(good, offset, value, layout))]))
    assert caught.value.message == message


@pytest.mark.oracle
@pytest.mark.parametrize(("offset", "value", "layout", "message"), FIELDS)
def test_qemu_refuses_it_in_the_same_words(offset, value, layout, message, good, builder, programs, tmp_path):
    path = tmp_path / "disk.cloop"
    path.write_bytes(builder.changed(good, offset, value, layout))
    said = programs.img("info", "-f", "cloop", path, check=False).stderr.decode()
    assert said == f"qemu-img: Could not open '{path}': {message}\n"


def said_here(subject, data, path):
    try:
        subject.info(Image([bytes_source(data)]))
    except FormatError as error:
        return f"qemu-img: Could not open '{path}': {error.message}\n"
    return ""


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(40))
def test_any_header_and_table_is_refused_as_by_qemu(seed, good, builder, programs, subject, tmp_path):
    choose = random.Random(seed)
    data = good
    for _ in range(choose.choice((1, 1, 2))):
        offset, width = choose.choice(((128, 4), (132, 4), *((136 + 8 * index, 8) for index in range(5))))
        old = int.from_bytes(data[offset : offset + width], "big")
        value = choose.choice((0, 1, 5, old * 2, old + 1, old - 1, old + (1 << 27), choose.getrandbits(12)))
        data = data[:offset] + (value % (1 << 8 * width)).to_bytes(width, "big") + data[offset + width :]
    path = tmp_path / "disk.cloop"
    path.write_bytes(data)
    assert said_here(subject, data, path) == programs.img("info", "-f", "cloop", path, check=False).stderr.decode()


@pytest.mark.oracle
@pytest.mark.parametrize("size", (0, 1, 100, 131, 132, 135, 136, 140, 144, 150, 168, 175, 176, 200))
def test_a_file_that_was_cut_is_refused_as_by_qemu(size, good, programs, subject, tmp_path):
    path = tmp_path / "disk.cloop"
    path.write_bytes(good[:size])
    assert (
        said_here(subject, good[:size], path) == programs.img("info", "-f", "cloop", path, check=False).stderr.decode()
    )


def test_a_fault_past_the_first_piece_of_the_table_is_found(builder, subject, monkeypatch):
    data = builder.build([bytes(512)] * 20, size=512)
    monkeypatch.setattr("instar_cloop.limits.PIECE", 4)
    assert subject.info(Image([bytes_source(data)])).virtual_size == 20 * 512
    for index in (4, 5, 8, 20):
        with pytest.raises(FormatError, match=f"offsets not monotonically increasing at index {index},"):
            subject.info(Image([bytes_source(builder.changed(data, 136 + 8 * index, 1, ">Q"))]))


@pytest.mark.parametrize("changes", ({2: 300, 1: 300}, {4: 1 << 26, 3: 1 << 26}))
def test_a_block_of_which_the_file_has_nothing_is_an_error(changes, builder, subject):
    blocks = [bytes([number]) * 4096 for number in range(4)]
    data = builder.build(blocks)
    table = list(struct.unpack(">5Q", data[136:176]))
    for index, value in changes.items():
        table[index] = value if value >= 1 << 26 else table[1]
    data = data[:136] + struct.pack(">5Q", *table) + data[176:]
    image = Image([bytes_source(data)])
    subject.info(image)
    with pytest.raises(FormatError, match="the file has nothing of block"):
        list(subject.map(image, 0, 4 * 4096))


def test_a_cut_block_is_an_error_when_it_is_read(good, content, subject):
    data = good[:-3]
    assert subject.info(Image([bytes_source(data)])).partial is False
    with pytest.raises(FormatError, match="compressed block"):
        content(data)


def test_a_block_is_never_said_to_take_more_than_it_can(builder, subject):
    data = builder.build([bytes(4096)] * 2, tail=bytes(1 << 20), offsets={2: 1 << 20})
    *_, last = subject.map(Image([bytes_source(data)]), 0, 8192)
    assert last.stored == 2 * 4096 + 65536


def test_the_largest_table_that_is_a_hole_costs_nothing(builder, subject):
    disk = Disk(builder.build([], size=512, count=(1 << 26) - 1)[:136])
    disk.truncate(1 << 30)
    with within(Budget(seconds=20)):
        image = Image([source(disk)])
        assert subject.info(image).virtual_size == ((1 << 26) - 1) * 512
        with pytest.raises(FormatError, match="nothing of block 0"):
            list(subject.map(image, 0, 1 << 30))


CASES = {
    "sound": ({}, []),
    "a tail": ({"tail": bytes(9)}, ["9 bytes after the last block belong to nothing"]),
    "past the end": ({"offsets": {3: 9999}}, ["ERROR block 2 ends past the end of the file"]),
    "in the table": ({"offsets": {0: 136}}, ["ERROR block 0 begins in the table of offsets"]),
    "empty": ({"stored": {1: b""}}, ["ERROR block 1 is empty"]),
    "no table": ({"count": 100, "cut": 136}, ["ERROR block 0 and all after it are empty"]),
    "fewer blocks": (
        {"count": 2},
        ["8 bytes between the table of offsets and block 0 belong to nothing", "bytes after"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_check_tells_what_is_wrong(case, builder, subject):
    options, wanted = dict(CASES[case][0]), CASES[case][1]
    cut = options.pop("cut", None)
    data = builder.build([b"a" * 4096, b"b" * 4096, b"c" * 4096], **options)[:cut]
    *found, tally = subject.check(Image([bytes_source(data)]))
    assert len(found) == len(wanted)
    assert all(text in one.text for text, one in zip(wanted, found, strict=True))
    assert all((one.severity == 2) == one.text.startswith("ERROR") for one in found)
    assert (
        isinstance(tally, Tally)
        and tally.total == tally.compressed == subject.info(Image([bytes_source(data)])).extra["blocks"]
    )
