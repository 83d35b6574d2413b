"""Images that qemu-img and the builder made, read here and judged by the readers of others."""

from __future__ import annotations

import random
import uuid

import pytest
from instar_vhdx.crc import portable

from instar_core.errors import FormatError
from instar_core.types import Kind, Layer, LayerKind, Span

MIB = 1 << 20


def names(extents):
    return [(extent.start, extent.length, extent.kind) for extent in extents]


@pytest.mark.oracle
@pytest.mark.parametrize("options", ["", "block_size=1M", "subformat=fixed", "block_state_zero=off,block_size=1M"])
@pytest.mark.parametrize("seed", range(4))
def test_images_that_qemu_io_wrote_into_read_as_qemu_reads_them(options, seed, tmp_path, programs, agree):
    choose = random.Random(seed)
    size = choose.choice((5 * MIB + 512, 20 * MIB, 100 * MIB, 33 * MIB - 512))
    path = tmp_path / "disk.vhdx"
    given = ("-o", options) if options else ()
    programs.img("create", "-q", "-f", "vhdx", *given, path, size)
    for _ in range(6):
        at = choose.randrange(size // 512) * 512
        length = min(size - at, choose.choice((512, 4096, 70144, 3 * MIB)))
        programs.io(path, f"write -P {choose.randrange(1, 256)} {at} {length}")
    agree(path)


@pytest.mark.oracle
@pytest.mark.parametrize("size", ("1T", "64T"))
def test_large_images_of_qemu_are_mapped(size, tmp_path, programs, host):
    path = tmp_path / "disk.vhdx"
    programs.img("create", "-q", "-f", "vhdx", path, size)
    programs.io(path, "write -P 1 700G 1M")
    with host.Opened(path) as opened:
        data = [extent for extent in opened.extents() if extent.kind == Kind.DATA]
        assert [(one.start, one.length) for one in data] == [(700 << 30, opened.info.cluster_size)]


@pytest.mark.oracle
def test_a_fixed_image_of_the_builder_reads_for_qemu_and_7_zip(tmp_path, builder, programs, agree):
    image = builder.Image(5 * MIB + 1024, fixed=True)
    content = random.Random(1).randbytes(5 * MIB + 1024)
    for number in range(6):
        image.put(number, builder.FULL, content[number * MIB : (number + 1) * MIB])
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    assert agree(path) == content
    assert programs.run(programs.find("7z"), "x", "-so", path).stdout == content


def build_all_states(builder, **more):
    image = builder.Image(8 * MIB + 4096, **more)
    image.put(1, builder.UNDEFINED)
    image.put(2, builder.ZERO)
    image.put(3, builder.UNMAPPED)
    image.put(4, builder.FULL, b"four" * 1000)
    image.put(5, builder.FULL, b"five" * 1000)
    image.put(8, builder.FULL, b"end")
    return image


@pytest.mark.parametrize("sector", (512, 4096))
def test_every_state_of_a_block_reads_as_the_specification_says(sector, tmp_path, builder, host):
    path = tmp_path / "disk.vhdx"
    path.write_bytes(build_all_states(builder, sector=sector).build())
    with host.Opened(path) as opened:
        assert opened.info.extra["logical-sector-size"] == sector
        assert names(opened.extents()) == [
            (0, MIB, Kind.ABSENT),
            (MIB, 3 * MIB, Kind.ZERO),
            (4 * MIB, 2 * MIB, Kind.DATA),
            (6 * MIB, 2 * MIB, Kind.ABSENT),
            (8 * MIB, 4096, Kind.DATA),
        ]
        content = opened.content()
    assert content[4 * MIB :].startswith(b"four") and content[8 * MIB :].startswith(b"end\0")


@pytest.mark.oracle
def test_every_state_of_a_block_reads_as_qemu_reads_it(tmp_path, builder, agree):
    path = tmp_path / "disk.vhdx"
    path.write_bytes(build_all_states(builder).build())
    agree(path)


@pytest.mark.parametrize("sector", (512, 4096))
@pytest.mark.parametrize("seed", range(3))
def test_a_differencing_image_shows_its_sectors_over_its_parent(sector, seed, tmp_path, builder, host):
    """Judged by what was put in, and by dissect.hypervisor where it is installed."""
    choose = random.Random(seed * 10 + sector)
    size = 40 * MIB + 8192
    parent_content = bytearray(size)
    parent = builder.Image(size, sector=sector, data_write=builder.LINKAGE)
    for number in choose.sample(range(40), 12):
        data = choose.randbytes(MIB)
        parent.put(number, builder.FULL, data)
        parent_content[number * MIB : number * MIB + MIB] = data
    (tmp_path / "parent.vhdx").write_bytes(parent.build())
    child = builder.child(size, sector=sector)
    want = bytearray(parent_content)
    for number in choose.sample(range(41), 20):
        room = min(MIB, size - number * MIB)
        kind = choose.choice((builder.FULL, builder.ZERO, builder.PARTIAL, builder.PARTIAL))
        data = bytearray(room)
        if kind == builder.FULL:
            data = choose.randbytes(room)
            child.put(number, kind, data)
        elif kind == builder.ZERO:
            child.put(number, kind)
        else:
            data = bytearray(want[number * MIB : number * MIB + room])
            sectors = {}
            for at in choose.sample(range(room // sector), min(room // sector, choose.choice((1, 2, 200)))):
                sectors[at] = choose.randbytes(sector)
                data[at * sector : (at + 1) * sector] = sectors[at]
            child.partial(number, sectors)
        want[number * MIB : number * MIB + room] = data
    path = tmp_path / "child.vhdx"
    path.write_bytes(child.build())
    with host.Opened(path) as opened:
        assert opened.parent() == "./parent.vhdx"
        assert opened.info.references[0].format == "vhdx"
        with host.Opened(tmp_path / "parent.vhdx") as below:
            assert opened.info.references[0].details["identity"] == below.info.extra["identity"]
        assert opened.content(parent=bytes(parent_content)) == want
        for _ in range(20):
            start = choose.randrange(size)
            length = min(size - start, choose.choice((1, 511, 513, 70_000, 3 * MIB)))
            assert opened.content(start, length, bytes(parent_content)) == want[start : start + length]
        assert [found.text for found in opened.findings()[:-1]] == []
    vhdx = pytest.importorskip("dissect.hypervisor.disk.vhdx", reason="dissect.hypervisor is not installed")
    # A read of dissect.hypervisor must not begin or end inside a block.
    other = vhdx.VHDX(path)
    with other.fh, other.parent.fh:
        for number in range(40):
            other.seek(number * MIB)
            assert other.read(MIB) == want[number * MIB : (number + 1) * MIB]


@pytest.mark.parametrize("torn, left", [(False, 3), (True, 2)])
@pytest.mark.parametrize("start", (0, 16384, MIB - 8192, MIB - 4096))
def test_a_log_counts_as_if_it_had_been_replayed(start, torn, left, tmp_path, builder, host):
    """A torn last entry does not count; the others do."""
    old, new = builder.dirty(start=start, torn=torn)
    path, other = tmp_path / "dirty.vhdx", tmp_path / "clean.vhdx"
    path.write_bytes(old)
    other.write_bytes(new)
    with host.Opened(path) as opened, host.Opened(other) as clean:
        assert opened.info.dirty is True and clean.info.dirty is False
        have, want = opened.content(), clean.content()
    reach = (1 + left) * MIB
    assert have[:reach] == want[:reach]
    assert have[reach : 4 * MIB] == bytes(4 * MIB - reach)


def test_a_log_without_a_valid_entry_counts_for_nothing(tmp_path, builder, host):
    old, _ = builder.dirty(entries=1, torn=True)
    path = tmp_path / "dirty.vhdx"
    path.write_bytes(old)
    with host.Opened(path) as opened:
        assert opened.info.dirty is False
        assert names(opened.extents()) == [(0, MIB, Kind.DATA), (MIB, 5 * MIB, Kind.ABSENT)]


def test_entries_of_an_older_log_count_for_nothing(tmp_path, builder, host):
    """Left-overs under another GUID, and a sequence that ended before the active one, are passed over."""
    old, new = builder.dirty(start=32768)
    file = bytearray(old)
    stale = builder.entry(900, 0, uuid.UUID(int=9), [(3 * MIB, bytes(4096))], flushed=0, last=0)
    file[MIB : MIB + len(stale)] = stale
    lower = builder.entry(5, 16384, builder.GUID, [(3 * MIB, bytes(4096))], flushed=0, last=0)
    file[MIB + 16384 : MIB + 16384 + len(lower)] = lower
    path, other = tmp_path / "dirty.vhdx", tmp_path / "clean.vhdx"
    path.write_bytes(file)
    other.write_bytes(new)
    with host.Opened(path) as opened, host.Opened(other) as clean:
        assert opened.content() == clean.content()


def test_a_log_may_zero_what_it_likes_and_the_last_word_counts(tmp_path, builder, host):
    image = builder.Image(3 * MIB)
    image.put(0, builder.FULL, b"x")
    table = bytearray(image.build()[3 * MIB : 3 * MIB + 4096])
    image.log_guid = builder.GUID
    first = builder.entry(1, 0, builder.GUID, [(3 * MIB, 4096)], flushed=0, last=0)
    second = builder.entry(2, 0, builder.GUID, [(3 * MIB, bytes(table)), (3 * MIB + 4096, 8192)], flushed=0, last=0)
    path = tmp_path / "disk.vhdx"
    for log, kinds in (
        ({0: first}, [(0, 3 * MIB, Kind.ABSENT)]),
        ({0: first, len(first): second}, [(0, MIB, Kind.DATA), (MIB, 2 * MIB, Kind.ABSENT)]),
    ):
        image.log = log
        path.write_bytes(image.build())
        with host.Opened(path) as opened:
            assert names(opened.extents()) == kinds


def test_content_in_the_log_is_refused_until_a_repair(tmp_path, builder, host):
    image = builder.Image(3 * MIB)
    image.put(0, builder.FULL, b"old" * 2000)
    image.put(1, builder.FULL, b"here")
    image.log_guid = builder.GUID
    image.log = {0: builder.entry(1, 0, builder.GUID, [(4 * MIB, b"new!" * 1024)], flushed=0, last=0)}
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    with host.Opened(path) as opened:
        assert opened.content(MIB, 4) == b"here"
        with pytest.raises(FormatError, match="check -r all"):
            opened.content()
    host.repair(path)
    with host.Opened(path) as opened:
        assert opened.content(0, 5000) == b"new!" * 1024 + (b"old" * 2000)[4096:5000]


def test_one_torn_header_or_region_table_is_enough(tmp_path, builder, host):
    good = builder.samples()[2][1]
    path = tmp_path / "disk.vhdx"
    for place in (65536 + 80, 131072 + 80, 196608 + 100, 262144 + 100):
        path.write_bytes(good[:place] + b"!" + good[place + 1 :])
        with host.Opened(path) as opened:
            assert opened.info.virtual_size == 3 * MIB


def test_the_header_with_the_higher_sequence_number_counts(tmp_path, builder, host):
    image = builder.Image(MIB)
    file = bytearray(image.build())
    newer = uuid.UUID(int=77)
    file[131072 : 131072 + 4096] = builder.header(1000, data_write=newer)
    path = tmp_path / "disk.vhdx"
    path.write_bytes(file)
    with host.Opened(path) as opened:
        assert opened.info.extra["identity"] == str(newer)


@pytest.mark.parametrize(
    "pairs, name",
    [
        ([("relative_path", "..\\a b\\p.vhdx"), ("absolute_win32_path", "C:\\p.vhdx")], b"../a b/p.vhdx"),
        ([("absolute_win32_path", "C:\\x\\p.vhdx")], b"C:\\x\\p.vhdx"),
        ([("volume_path", "\\\\?\\Volume{1}\\p"), ("absolute_win32_path", "C:\\p")], b"\\\\?\\Volume{1}\\p"),
        ([("relative_path", ""), ("absolute_win32_path", "\\srv\\p.vhdx")], b"/srv/p.vhdx"),
        ([("relative_path", "é\U0001f600.vhdx")], "é\U0001f600.vhdx".encode()),
    ],
)
def test_a_parent_goes_by_its_relative_path_first(pairs, name, tmp_path, builder, host):
    image = builder.child()
    image.parent = [image.parent[0], *pairs]
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    with host.Opened(path) as opened:
        assert opened.info.references[0].name == name
        assert opened.info.extra["subformat"] == "differencing"


def test_optional_regions_and_items_are_passed_over(tmp_path, builder, host):
    image = builder.Image(MIB)
    image.extra_items = [(uuid.UUID(int=3), b"more", 1)]
    image.extra_regions = [(uuid.UUID(int=4), 16 * MIB, MIB, 0)]
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    with host.Opened(path) as opened:
        assert opened.info.virtual_size == MIB


def test_there_are_no_other_layers(tmp_path, builder, host):
    from instar_vhdx import hooks

    path = tmp_path / "disk.vhdx"
    path.write_bytes(builder.Image(MIB).build())
    with host.Opened(path) as opened, pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(hooks.instar_map(opened.image(), Layer(LayerKind.SNAPSHOT, "1"), Span(0, MIB)))


def test_checksums_computed_here_are_those_of_the_polynomial(builder):
    choose = random.Random(5)
    assert portable(b"123456789") == 0xE3069283
    for length in (0, 1, 7, 4096, 9000):
        for zeros in (0, 1, 3, 4096, 65533):
            data = choose.randbytes(length) + bytes(zeros)
            assert portable(data) == builder.crc32c(data)
