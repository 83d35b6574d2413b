"""The library: typed results, errors as exceptions, nothing printed, nothing left behind."""

from __future__ import annotations

import io
import os
import threading
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import instar_core
from instar_core import registry
from instar_core.errors import (
    Cancelled,
    DeviceError,
    ErrorKind,
    InstarError,
    NotInstalled,
    PolicyError,
    UnknownFormat,
    UsageError,
)
from instar_core.results import CheckReport, Comparison, Creation, DiskInfo, MapRange, Measurement, Progress
from instar_core.settings import Settings
from instar_core.types import Finding

MIB = 1 << 20
CONTENT = b"".join(bytes([number]) * 4096 for number in range(1, 200)) + b"tail"
SIZE = -(-len(CONTENT) // 512) * 512


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> object:
    """Nothing may be printed by any test here."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def raw(tmp_path: Path) -> str:
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture(params=["raw", "qcow2", "vmdk"])
def disk(request: pytest.FixtureRequest, raw: str, tmp_path: Path) -> tuple[str, str]:
    """An image with the content, and its format; of each format that is installed."""
    needs(request.param)
    path = str(tmp_path / f"disk.{request.param}")
    if request.param != "raw":
        instar_core.convert([raw], path, source_format="raw", target_format=request.param)
    return path, request.param


def needs(format: str) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")


def test_a_disk_reads_as_a_file(disk: tuple[str, str]) -> None:
    path, format = disk
    with instar_core.open(path, format=format) as opened:
        size = opened.size
        assert size >= SIZE and size % 512 == 0
        assert opened.read(5) == CONTENT[:5]
        assert opened.tell() == 5
        assert opened.seek(-size, io.SEEK_END) == 0
        assert opened.seek(4090) == 4090
        assert opened.seek(3, io.SEEK_CUR) == 4093
        assert opened.read(6) == CONTENT[4093:4099]
        buffer = bytearray(100)
        opened.seek(len(CONTENT) - 4)
        assert opened.readinto(buffer) == min(100, size - len(CONTENT) + 4)
        assert buffer[:4] == b"tail" and not any(buffer[4:])
        opened.seek(size)
        assert opened.read(10) == b"" and opened.readinto(buffer) == 0
        with pytest.raises(ValueError):
            opened.seek(-1)
        opened.seek(0)
        assert opened.read() == CONTENT.ljust(size, b"\0")


def test_pread_leaves_the_position_and_is_short_at_the_end(disk: tuple[str, str]) -> None:
    path, format = disk
    with instar_core.open(path, format=format) as opened:
        opened.seek(7)
        assert opened.pread(8, 4092) == CONTENT[4092:4100]
        assert opened.pread(100, opened.size - 2) == b"\0\0"
        assert opened.pread(100, opened.size) == b"" == opened.pread(100, opened.size + MIB)
        assert opened.tell() == 7


@pytest.mark.parametrize("arguments", [(-1, 0), (5, -1), (5, -5)])
def test_pread_of_no_place_is_a_value_error(raw: str, arguments: tuple[int, int]) -> None:
    with instar_core.open(raw, format="raw") as opened, pytest.raises(ValueError):
        opened.pread(*arguments)


def test_a_disk_can_be_buffered_by_the_standard_library(disk: tuple[str, str]) -> None:
    path, format = disk
    with io.BufferedReader(instar_core.open(path, format=format)) as buffered:
        assert buffered.read(10000) == CONTENT[:10000]
        buffered.seek(4096)
        assert buffered.peek(1)[:1] == CONTENT[4096:4097]


def test_a_disk_is_only_for_reading_and_closes_for_good(disk: tuple[str, str]) -> None:
    path, format = disk
    opened = instar_core.open(path, format=format)
    assert opened.readable() and opened.seekable() and not opened.writable()
    with pytest.raises(OSError):
        opened.write(b"x")
    opened.close()
    opened.close()
    assert opened.closed
    for use in (lambda: opened.read(1), lambda: opened.pread(1, 0), lambda: opened.seek(0), opened.tell):
        with pytest.raises(ValueError):
            use()


def test_a_disk_tells_what_it_is(disk: tuple[str, str]) -> None:
    path, format = disk
    with instar_core.open(path, format=format) as opened:
        assert isinstance(opened.info, DiskInfo)
        assert opened.info.image.format == format
        assert opened.info.image.virtual_size == opened.size
        ranges = list(opened.extents())
        assert all(isinstance(each, MapRange) for each in ranges)
        assert covered(ranges) == (0, opened.size)
        assert covered(list(opened.extents(5000, 1000))) == (5000, 6000)
        assert list(opened.extents(opened.size)) == []
        assert opened.pread(3, 0) == CONTENT[:3]


def covered(ranges: list[MapRange]) -> tuple[int, int]:
    """The window that the ranges cover without a gap."""
    for one, other in pairwise(ranges):
        assert one.start + one.length == other.start
    return ranges[0].start, ranges[-1].start + ranges[-1].length


def test_a_disk_can_be_read_while_its_extents_are_gone_through(disk: tuple[str, str]) -> None:
    path, format = disk
    with instar_core.open(path, format=format) as opened:
        next(opened.extents())
        found = b"".join(opened.pread(each.length, each.start) for each in opened.extents())
        assert found == CONTENT.ljust(opened.size, b"\0")


def test_the_extents_of_a_disk_are_those_of_map_however_large_it_is(tmp_path: Path) -> None:
    needs("qcow2")
    path = str(tmp_path / "huge")
    instar_core.create(path, format="qcow2", size=1 << 46)
    with instar_core.open(path) as opened:
        assert [(each.start, each.length) for each in opened.extents()] == [(0, 1 << 46)]


def test_several_disks_can_be_open_at_once(disk: tuple[str, str]) -> None:
    path, format = disk
    with instar_core.open(path, format=format) as one, instar_core.open(path, format=format) as other:
        one.seek(4096)
        assert other.read(4) == CONTENT[:4]
        assert one.read(4) == CONTENT[4096:4100]


def test_a_snapshot_is_a_disk_of_its_own(raw: str, tmp_path: Path) -> None:
    needs("qcow2")
    from instar_core.operations import snapshot

    path = str(tmp_path / "disk.qcow2")
    instar_core.convert([raw], path, source_format="raw", target_format="qcow2")
    snapshot.create(path, "before")
    with instar_core.open(path, snapshot="before") as opened:
        assert opened.read(len(CONTENT)) == CONTENT
    for wanted in ("1", "snapshot.name=before", "snapshot.id=1,snapshot.name=before"):
        with instar_core.open(path, snapshot=wanted) as opened:
            assert opened.pread(4, 4096) == CONTENT[4096:4100]
    with pytest.raises(InstarError, match="Can't find snapshot") as caught:
        instar_core.open(path, snapshot="after")
    assert caught.value.kind == ErrorKind.MISSING
    with pytest.raises(InstarError, match="does not support"):
        instar_core.open(raw, format="raw", snapshot="before")


def test_a_disk_shows_its_backing_file_where_it_has_nothing_itself(raw: str, tmp_path: Path) -> None:
    needs("qcow2")
    base, top = str(tmp_path / "base"), str(tmp_path / "top")
    instar_core.convert([raw], base, source_format="raw", target_format="qcow2")
    instar_core.create(top, format="qcow2", size=2 * MIB, backing=base, backing_format="qcow2")
    with instar_core.open(top) as opened:
        assert opened.size == 2 * MIB
        assert opened.read() == CONTENT.ljust(2 * MIB, b"\0")
        assert {each.depth for each in opened.extents(0, SIZE)} == {1}
    assert [each.filename for each in instar_core.info(top, chain=True)] == [top, base]
    with pytest.raises(PolicyError):
        instar_core.open(top, settings=Settings(policy="untrusted"))


def test_info_map_and_check_give_typed_results(disk: tuple[str, str]) -> None:
    path, format = disk
    (found,) = instar_core.info(path, format=format)
    assert isinstance(found, DiskInfo) and found.filename == path
    assert found.allocated == os.stat(path).st_blocks * 512
    ranges = list(instar_core.map(path, format=format))
    assert all(isinstance(each, MapRange) for each in ranges)
    assert covered(ranges)[0] == 0
    assert list(instar_core.map(path, format=format, start=1 << 40)) == [
        MapRange(1 << 40, 0, 0, False, False, False, False, None)
    ]
    if format == "raw":
        with pytest.raises(InstarError, match="does not support checks") as caught:
            instar_core.check(path, format=format)
        assert caught.value.kind == ErrorKind.UNSUPPORTED
    else:
        report = instar_core.check(path, format=format)
        assert isinstance(report, CheckReport)
        assert (report.corruptions, report.leaks, report.errors) == (0, 0, 0)


def test_the_window_of_a_map_is_exact(disk: tuple[str, str]) -> None:
    path, format = disk
    whole = list(instar_core.map(path, format=format))
    for start, length in ((0, 1), (4095, 2), (70000, 12345), (SIZE - 1, 1)):
        window = list(instar_core.map(path, format=format, start=start, length=length))
        assert covered(window) == (start, start + length)
        for each in window:
            (around,) = [r for r in whole if r.start <= each.start < r.start + r.length]
            assert each[2:7] == around[2:7]
            assert each.offset == (None if around.offset is None else around.offset + each.start - around.start)


def test_findings_can_be_taken_as_they_come(builder: ModuleType, tmp_path: Path) -> None:
    image = bytearray(builder.qcow2(content=CONTENT))
    block = 2 * builder.CLUSTER
    image[block + 10 : block + 14] = b"\0\2\0\0"  # of clusters 5 and 6
    path = tmp_path / "disk.qcow2"
    path.write_bytes(image)
    found: list[Finding] = []
    report = instar_core.check(str(path), on_finding=found.append)
    assert (report.leaks, report.corruptions, report.findings) == (1, 3, ())
    assert sum(each.count for each in found) == 4
    assert all(isinstance(each, Finding) for each in found)
    assert instar_core.check(str(path)).findings == tuple(found)


def test_measure_tells_the_size_of_what_convert_makes(raw: str, tmp_path: Path) -> None:
    assert instar_core.measure(size=MIB) == Measurement(MIB, MIB, None)
    assert instar_core.measure(raw, format="raw") == Measurement(SIZE, SIZE, None)
    needs("qcow2")
    told = instar_core.measure(raw, format="raw", target_format="qcow2")
    target = tmp_path / "target"
    instar_core.convert([raw], str(target), source_format="raw", target_format="qcow2")
    assert isinstance(told, Measurement)
    assert target.stat().st_size <= told.required <= told.fully_allocated


def test_compare_says_where_disks_differ(disk: tuple[str, str], raw: str, tmp_path: Path) -> None:
    path, format = disk
    same = instar_core.compare(raw, path, first_format="raw", second_format=format)
    assert same.identical and same.reason == "identical" and same.common == SIZE
    other = bytearray(CONTENT)
    other[100_000] ^= 1
    changed = tmp_path / "changed"
    changed.write_bytes(other)
    found = instar_core.compare(path, str(changed), first_format=format, second_format="raw")
    assert isinstance(found, Comparison)
    assert (found.identical, found.reason, found.offset) == (False, "content", 100_000 // 512 * 512)
    changed.write_bytes(CONTENT + bytes(1 << 16))
    longer = instar_core.compare(raw, str(changed), first_format="raw", second_format="raw")
    assert (longer.identical, longer.sizes_differ, longer.common) == (True, True, SIZE)
    strict = instar_core.compare(raw, str(changed), first_format="raw", second_format="raw", strict=True)
    assert (strict.identical, strict.reason, strict.common) == (False, "size", SIZE)


def test_create_says_what_it_made(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    announced: list[Creation] = []
    made = instar_core.create(path, size=1000, options={"preallocation": "off"}, announce=announced.append)
    assert announced == [made] == [Creation(path, "raw", 1000, (("size", 1000), ("preallocation", "off")))]
    assert os.stat(path).st_size == 1024


def test_convert_joins_its_sources(raw: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    instar_core.convert([raw, raw], str(target), source_format="raw")
    assert target.read_bytes() == CONTENT.ljust(SIZE, b"\0") * 2


@pytest.mark.parametrize("target_format", ["raw", "qcow2", "vmdk"])
def test_progress_ascends_to_the_total(raw: str, tmp_path: Path, target_format: str) -> None:
    needs(target_format)
    told: list[Progress] = []
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(5 * MIB)
        file.write(os.urandom(20 * MIB))
    instar_core.convert(
        [str(path)], str(tmp_path / "t"), source_format="raw", target_format=target_format, progress=told.append
    )
    assert {each.verb for each in told} == {"convert"} and {each.total for each in told} == {64 * MIB}
    steps = [each.done for each in told]
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == 64 * MIB and len(set(steps)) > 3
    told.clear()
    instar_core.compare(
        str(path), str(tmp_path / "t"), first_format="raw", second_format=target_format, progress=told.append
    )
    steps = [each.done for each in told]
    assert steps == sorted(steps) and steps[-1] == told[-1].total == 64 * MIB and told[0].verb == "compare"


@pytest.mark.parametrize("target_format", ["raw", "qcow2", "vmdk"])
def test_a_cancelled_conversion_leaves_no_file(tmp_path: Path, target_format: str) -> None:
    needs(target_format)
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    target.parent.mkdir()
    source.write_bytes(os.urandom(20 * MIB))
    steps: list[Progress] = []
    with pytest.raises(Cancelled):
        instar_core.convert(
            [str(source)],
            str(target),
            source_format="raw",
            target_format=target_format,
            progress=steps.append,
            cancelled=lambda: len(steps) > 1,
        )
    assert os.listdir(target.parent) == []
    assert steps[-1].done < steps[-1].total
    with pytest.raises(Cancelled):
        instar_core.compare(str(source), str(source), first_format="raw", second_format="raw", cancelled=lambda: True)


def test_an_error_of_a_callback_comes_through_and_leaves_no_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(4 * MIB))

    def fail(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        instar_core.convert([str(source)], str(target), source_format="raw", progress=fail)
    assert not target.exists()


def test_errors_tell_what_happened(tmp_path: Path, raw: str) -> None:
    text = tmp_path / "text"
    text.write_text("hello, world\n" * 100)
    with pytest.raises(DeviceError) as missing:
        instar_core.info(str(tmp_path / "nothing"))
    assert (missing.value.errno, missing.value.path) == (2, str(tmp_path / "nothing"))
    with pytest.raises(UnknownFormat) as unknown:
        instar_core.info(str(text))
    assert unknown.value.path == str(text) and unknown.value.kind == ErrorKind.REFUSED
    with pytest.raises(UsageError, match="Unknown driver 'foo'"):
        instar_core.info(raw, format="foo")
    with pytest.raises(UsageError, match="Unknown file format 'foo'"):
        instar_core.create(str(tmp_path / "new"), format="foo", size=MIB)
    with pytest.raises(UsageError, match="Invalid parameter 'foo'"):
        instar_core.create(str(tmp_path / "new"), size=MIB, options={"foo": "1"})
    with pytest.raises(UsageError, match="needs a size"):
        instar_core.create(str(tmp_path / "new"))
    with pytest.raises(InstarError, match="rbd is not spoken here: map the image"):
        instar_core.info("rbd:pool/image")
    absent = [name for name in ("qed", "vhdx", "bochs") if name not in registry.entries()]
    if absent:
        with pytest.raises(NotInstalled, match=f"instar-{absent[0]}, which is not installed"):
            instar_core.info(raw, format=absent[0])
    assert not (tmp_path / "new").exists()


def test_no_descriptor_and_no_child_is_left(disk: tuple[str, str], tmp_path: Path) -> None:
    path, format = disk
    instar_core.info(path, format=format)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        instar_core.info(path, format=format)
        with instar_core.open(path, format=format) as opened:
            opened.read(10)
        instar_core.convert([path], str(tmp_path / "t"), source_format=format)
        next(instar_core.map(path, format=format))
        with pytest.raises(InstarError):
            instar_core.info(path, format="foo")
        with pytest.raises(InstarError):
            instar_core.open(path, format=format, snapshot="none")
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_works_from_many_threads_at_once(disk: tuple[str, str]) -> None:
    path, format = disk
    found: list[object] = []

    def work() -> None:
        try:
            with instar_core.open(path, format=format) as opened:
                found.append(opened.read(len(CONTENT)) == CONTENT)
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 6


@pytest.mark.parametrize("sandbox", ["process", "inline", "auto"])
def test_every_sandbox_gives_the_same_answer(disk: tuple[str, str], sandbox: str) -> None:
    path, format = disk
    settings = Settings(sandbox=sandbox)
    assert instar_core.info(path, format=format, settings=settings) == instar_core.info(path, format=format)
    assert list(instar_core.map(path, format=format, settings=settings)) == list(instar_core.map(path, format=format))


def test_an_unknown_sandbox_is_refused(raw: str) -> None:
    with pytest.raises(InstarError, match="sandbox"):
        instar_core.info(raw, format="raw", settings=Settings(sandbox="none"))


def test_every_name_of_the_library_is_there() -> None:
    names = "open Disk info map check convert create measure compare Settings Extent FormatSpec hookimpl FormatError"
    for name in (*names.split(), "DiskInfo", "Image", "Source"):
        assert getattr(instar_core, name) is not None
    with pytest.raises(AttributeError):
        instar_core.no_such_name  # noqa: B018


def test_images_are_changed_by_functions_of_the_front(tmp_path: Path) -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    settings = Settings(sandbox="process", policy="qemu")
    base, top = str(tmp_path / "base"), str(tmp_path / "top")
    instar_core.create(base, format="qcow2", size=MIB, settings=settings)
    instar_core.snapshot.create(base, "first", settings=settings)
    assert [each.name for each in instar_core.snapshot.list_(base, settings=settings)] == ["first"]
    instar_core.bitmap(base, "b", [instar_core.Action("add")], settings=settings)
    instar_core.create(top, format="qcow2", backing="base", backing_format="qcow2", settings=settings)
    instar_core.commit(top, settings=settings)
    instar_core.rebase(top, None, settings=settings)
    mended = instar_core.repair(base, "all", settings=settings)
    assert (mended.corruptions, mended.leaks) == (0, 0)
    found = instar_core.info(top, settings=settings)[0].image
    assert (found.virtual_size, found.references) == (MIB, ())
    assert [each.name for each in instar_core.info(base, settings=settings)[0].image.bitmaps] == ["b"]
