"""Changes of images that are there: judged by qemu-img, and by what a power cut leaves of them."""

from __future__ import annotations

import random

import pytest

from instar_core.changing import Changing
from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing import executor
from instar_core.testing.medium import Disk
from instar_core.testing.overwriting import INLINE, overwrite
from instar_core.types import Barrier, Empty, Rebase, Repair, Resize, Severity, Update

MIB = 1 << 20


def change(path, request):
    with Changing(str(path), INLINE, format="qed") as image:
        image.apply(request)


@pytest.fixture
def over(tmp_path, programs):
    """A function that makes an image over a backing file of other content, and gives path and content of its disk."""

    def make(size, *, backing=None, cluster=65536, table=4):
        path = tmp_path / "disk.qed"
        options = ("-o", f"cluster_size={cluster},table_size={table}")
        if backing is None:
            programs.img("create", "-q", "-f", "qed", *options, path, size)
            return path, bytearray(size)
        below = random.Random(5).randbytes(backing)
        (tmp_path / "base.raw").write_bytes(below)
        programs.img("create", "-q", "-f", "qed", "-b", "base.raw", "-F", "raw", *options, path, size)
        return path, bytearray(below[:size].ljust(size, b"\0"))

    return make


def sound(programs, path):
    done = programs.img("check", "-f", "qed", path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.oracle
@pytest.mark.parametrize("backing", (None, 5 * MIB))
@pytest.mark.parametrize("seed", range(4))
def test_content_that_is_written_is_what_qemu_reads(seed, backing, over, programs):
    choose = random.Random(seed)
    path, disk = over(5 * MIB + 512 * 9, backing=backing, cluster=choose.choice((4096, 65536)), table=2)
    for _ in range(3):
        at = choose.randrange(len(disk) - 70000) // 65536 * 65536
        programs.io(path, f"write -P {at % 250 + 1} {at} 64k")
        disk[at : at + 65536] = bytes([at % 250 + 1]) * 65536
        spans = []
        for start in sorted(choose.sample(range(0, len(disk), 65536), 6)):
            length = min(len(disk) - start, choose.choice((65536, 4096, 30000)))
            disk[start : start + length] = choose.choice((choose.randbytes(length), bytes(length)))
            spans.append((start, length))
        overwrite(str(path), "qed", bytes(disk), spans)
        assert programs.content(path) == disk
        sound(programs, path)


@pytest.mark.oracle
def test_clusters_that_are_there_are_written_in_place(over, programs):
    path, disk = over(2 * MIB)
    programs.io(path, "write -P 1 0 1M")
    size = path.stat().st_size
    disk[:MIB] = random.Random(1).randbytes(MIB)
    overwrite(str(path), "qed", bytes(disk), [(0, MIB)])
    assert path.stat().st_size == size
    disk[: MIB // 2] = bytes(MIB // 2)
    overwrite(str(path), "qed", bytes(disk), [(0, MIB // 2)])
    assert path.stat().st_size == size
    assert programs.content(path) == disk
    sound(programs, path)


@pytest.mark.oracle
def test_zeros_over_a_backing_file_take_no_cluster(over, programs):
    path, disk = over(2 * MIB, backing=2 * MIB)
    disk[:MIB] = bytes(MIB)
    overwrite(str(path), "qed", bytes(disk), [(0, MIB)])
    shown = programs.answer("map", path)
    assert (shown[0]["start"], shown[0]["length"], shown[0]["zero"], shown[0]["data"]) == (0, MIB, True, False)
    assert programs.content(path) == disk


@pytest.mark.oracle
@pytest.mark.parametrize("size", (5 * MIB, 5 * MIB + 512, 300 * MIB))
def test_a_disk_grows_as_qemu_grows_it(size, over, programs, tmp_path):
    path, _ = over(4 * MIB, cluster=4096, table=2)
    programs.io(path, "write -P 3 1M 64k", "write -P 4 4190208 4k")
    twin = tmp_path / "twin.qed"
    twin.write_bytes(path.read_bytes())
    change(path, Resize(size))
    programs.img("resize", "-q", "-f", "qed", twin, size)
    assert path.read_bytes() == twin.read_bytes()


@pytest.mark.oracle
@pytest.mark.parametrize("before, after", ((4 * MIB, 6 * MIB), (4 * MIB - 512, 9 * MIB), (2 * MIB, 40 * MIB)))
def test_what_a_disk_grows_by_is_zeros_whatever_the_backing_file_has(before, after, over, programs):
    """quirk("qed-grows-over-a-longer-backing-file")"""
    from instar_core.operations.resize import resize

    path, disk = over(before, backing=8 * MIB, cluster=4096, table=2)
    assert b"does not support requested flags" in programs.img("resize", path, after, check=False).stderr
    resize(str(path), after, settings=INLINE)
    assert programs.content(path) == disk.ljust(after, b"\0")
    sound(programs, path)


@pytest.mark.oracle
def test_over_a_shorter_backing_file_a_disk_grows_as_qemu_grows_it(over, programs, tmp_path):
    from instar_core.operations.resize import resize

    path, _ = over(4 * MIB - 512, backing=2 * MIB)
    twin = tmp_path / "twin.qed"
    twin.write_bytes(path.read_bytes())
    resize(str(path), 9 * MIB, settings=INLINE)
    programs.img("resize", "-q", "-f", "qed", twin, 9 * MIB)
    assert path.read_bytes() == twin.read_bytes()


def test_what_lies_behind_the_end_of_a_disk_is_zeros_once_it_grows(builder, subject, show):
    """A cluster that the end of the disk divides, and clusters that a stopped growth or another program left there."""
    size = 2 * MIB - 512
    data = builder.build(size, {0: builder.DATA, 511: builder.DATA, 600: builder.DATA})
    file = executor.change(subject, [Disk(data)], Resize(4 * MIB)).files[0]
    content, _ = show(file.read(0, file.size))
    assert content == builder.disk(size, {0: builder.DATA, 511: builder.DATA}).ljust(4 * MIB, b"\0")


@pytest.mark.parametrize(
    "request_, message",
    (
        (Resize(MIB), "Shrinking images is currently not supported"),
        (Resize(3 * MIB, "full"), "Unsupported preallocation mode 'full'"),
        (Resize(1 << 62), "Invalid image size specified"),
    ),
)
def test_a_resize_that_qemu_refuses_is_refused_in_its_words(request_, message, builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB, {0: builder.DATA}))])
    with pytest.raises(FormatError, match=message):
        list(subject.write(image, request_, iter(())))


def test_a_disk_that_ends_inside_a_cluster_of_its_backing_file_does_not_grow(builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB - 512, {}, backing=b"b"))])
    with pytest.raises(FormatError, match="ends inside a cluster of its backing file"):
        list(subject.write(image, Resize(4 * MIB), iter(())))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", (b"base.raw", b"./" * 220 + b"base.raw", b"./" * 221 + b"base.raw", b"./" * 1500 + b"base.raw", b"")
)
def test_the_backing_file_is_the_one_that_qemu_sees(name, over, programs):
    path, _ = over(2 * MIB, backing=2 * MIB)
    programs.io(path, "write -P 3 1M 64k")
    for given in (b"n" * 1000, name):
        change(path, Rebase({"name": given, "format": "raw"} if given else None))
    said = programs.answer("info", path)
    assert said.get("backing-filename", "").encode() == name
    assert said.get("backing-filename-format") == ("raw" if name else None)
    sound(programs, path)


def test_a_name_that_finds_no_room_beside_the_old_one_is_refused(builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB, {}, backing=b"b" * 2500))])
    with pytest.raises(FormatError, match="no room for the name"):
        list(subject.write(image, Rebase({"name": b"c" * 2500}), iter(())))


@pytest.mark.oracle
def test_an_image_that_is_emptied_is_as_small_as_a_new_one(over, programs):
    path, disk = over(2 * MIB, backing=2 * MIB)
    size = path.stat().st_size
    programs.io(path, "write -P 3 0 1M")
    change(path, Empty())
    assert programs.content(path) == disk
    assert path.stat().st_size == size
    sound(programs, path)


def test_an_image_whose_clusters_have_two_owners_is_not_written_to(builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB, {0: builder.DATA, 1: 4096 * 5}))])
    for request in (Update(), Resize(4 * MIB)):
        with pytest.raises(FormatError, match="must be repaired"):
            list(subject.write(image, request, iter(())))


def test_autoclear_features_are_gone_before_anything_changes(builder, subject):
    data = builder.build(2 * MIB, {0: builder.DATA}, autoclear=6, backing=b"b")
    for request in (Resize(4 * MIB), Rebase(None), Empty()):
        steps = executor.change(subject, [Disk(data)], request).steps
        assert [step.what for step in steps[:2]] == ["write", "barrier"]
        assert (steps[0].offset, steps[0].data) == (32, bytes(8))


def leaks(subject, data):
    found = list(subject.check(Image([bytes_source(data)])))[:-1]
    assert not [one for one in found if one.severity == Severity.CORRUPTION]
    return [one for one in found if one.severity == Severity.LEAK]


@pytest.mark.parametrize("backing", (b"", b"b"))
@pytest.mark.parametrize("request_", (Resize(9 * MIB), Rebase({"name": b"c" * 600}), Rebase(None), Empty()), ids=str)
def test_a_change_that_is_cut_anywhere_leaves_the_old_state_or_the_new_and_leaks_that_can_be_freed(
    request_, backing, builder, subject, show, mend
):
    clusters = {0: builder.DATA, 3: builder.ZERO, 9: builder.DATA, 1023: builder.DATA}
    data = builder.build(4 * MIB, clusters, backing=backing)
    history = executor.change(subject, [Disk(data)], request_)
    wanted = [state(subject, show, data), state(subject, show, history.files[0].read(0, history.files[0].size))]
    choose = random.Random(1)
    for step in range(len(history.steps) + 1):
        for _ in range(6):
            (file,) = history.cut(step, choose)
            left = file.read(0, file.size)
            assert state(subject, show, left) in wanted
            if leaks(subject, left):
                cleaned, _ = mend(left, Repair("leaks"))
                assert not leaks(subject, cleaned)
                assert state(subject, show, cleaned) == state(subject, show, left)


def state(subject, show, data):
    """The map without its places, the content and the backing file."""
    info = subject.info(Image([bytes_source(data)]))
    content, ranges = show(data)
    kept = [(one["start"], one["length"], one["present"]) for one in ranges]
    return info.virtual_size, info.references, content, kept


@pytest.mark.parametrize("table", (2, 4))
def test_leaks_are_freed_by_what_lies_last(table, builder, subject, show, mend):
    """quirk("qed-leaks-are-freed")"""
    clusters = dict.fromkeys((0, 1, 2, 7, 900, 901), builder.DATA)
    data = builder.build(8 * MIB, clusters, table=table, gap=[1, 2, 901], tail=bytes(4096 * 3))
    assert sum(one.count for one in leaks(subject, data)) == 6
    for mode in ("leaks", "all"):
        mended, history = mend(data, Repair(mode))
        assert len(mended) == len(data) - 6 * 4096
        assert not leaks(subject, mended)
        assert show(mended)[0] == show(data)[0]
    choose = random.Random(2)
    for step in range(len(history.steps) + 1):
        (file,) = history.cut(step, choose)
        assert show(file.read(0, file.size))[0] == show(data)[0]


def test_tables_behind_leaks_move_where_they_have_room(builder, subject, show, mend):
    data = bytearray(builder.build(8 * MIB, {0: builder.DATA, 2000: builder.DATA}, table=2))
    # The second table goes to the end of the file, and leaves two leaked clusters.
    place = int.from_bytes(data[4096 + 8 * 1 : 4096 + 8 * 2], "little")
    data[4096 + 8 : 4096 + 16] = len(data).to_bytes(8, "little")
    data += data[place : place + 8192]
    assert sum(one.count for one in leaks(subject, bytes(data))) == 2
    mended, _ = mend(bytes(data), Repair("leaks"))
    assert not leaks(subject, mended)
    assert show(mended)[0] == show(bytes(data))[0]


def test_a_header_that_says_it_has_no_cluster_is_never_overwritten(builder, subject, mend):
    data = builder.changed(builder.build(2 * MIB, {0: builder.DATA}, gap=[0]), 12, 0, "<I")
    for request in (Repair("leaks"), Repair("all"), Empty()):
        assert mend(data, request)[0][:12] == data[:12]


def test_a_plan_never_puts_more_at_once_than_a_host_takes(builder, subject):
    image = Image([bytes_source(builder.build(2 * MIB, {}, cluster=1 << 20, table=16, backing=b"b"))])
    edits = list(subject.write(image, Resize(1 << 41), iter(())))
    assert max(len(edit.data) for edit in edits if hasattr(edit, "data")) <= 4 * MIB
    assert isinstance(edits[-1], Barrier)


@pytest.mark.oracle
def test_zeros_that_are_to_last_cover_a_backing_file_that_is_named_later(over, programs, tmp_path):
    path, disk = over(2 * MIB)
    (tmp_path / "base.raw").write_bytes(b"b" * len(disk))
    overwrite(str(path), "qed", bytes(disk), [(0, len(disk))], opaque=True)
    change(path, Rebase({"name": b"base.raw", "format": "raw"}))
    assert programs.content(path) == disk
