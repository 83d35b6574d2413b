"""Results are printed as qemu-img prints them."""

from __future__ import annotations

import json

import pytest

from instar_core.cli.printable import printable
from instar_core.cli.render import check, compare, create, info, map, measure, snapshots
from instar_core.errors import InstarError
from instar_core.mapranges import Look, Ranges
from instar_core.results import CheckReport, Child, Comparison, Creation, DiskInfo, Measurement
from instar_core.settings import DEFAULTS
from instar_core.types import ImageInfo, Snapshot

DETAILS = {"compat": "1.1", "bitmaps": [{"flags": [], "name": "b0", "granularity": 65536}], "corrupt": False}
IMAGE = ImageInfo("qcow2", 1 << 20, 65536, details=DETAILS, extra={"image-type": "dynamic"})
DISK = DiskInfo("o.q", IMAGE, 200704, (Child("file", "o.q", 196616, 200704),), "r.img", "d/r.img", "raw")


def test_info_for_people() -> None:
    assert info.human([DISK], DEFAULTS) == (
        "image: o.q\n"
        "file format: qcow2\n"
        "virtual size: 1 MiB (1048576 bytes)\n"
        "disk size: 196 KiB\n"
        "cluster_size: 65536\n"
        "backing file: r.img (actual path: d/r.img)\n"
        "backing file format: raw\n"
        "Format specific information:\n"
        "    compat: 1.1\n"
        "    bitmaps:\n"
        "        [0]:\n"
        "            flags:\n"
        "            name: b0\n"
        "            granularity: 65536\n"
        "    corrupt: false\n"
        "Child node '/file':\n"
        "    filename: o.q\n"
        "    protocol type: file\n"
        "    file length: 192 KiB (197120 bytes)\n"
        "    disk size: 196 KiB\n"
    )


def test_info_as_json() -> None:
    text = info.json([DISK], DEFAULTS, chain=False)
    assert text.startswith('{\n    "children": [\n        {\n            "name": "file",\n            "info": {\n')
    assert '                "virtual-size": 197120,\n' in text
    assert (
        '    "full-backing-filename": "d/r.img",\n    "backing-filename": "r.img",\n    "dirty-flag": false\n}\n'
        in text
    )
    assert "image-type" not in text
    assert info.json([DISK], DEFAULTS, chain=True).startswith('[\n    {\n        "children": [\n')


def test_an_unknown_dirty_flag_and_size_are_left_out() -> None:
    text = info.json(
        [DISK._replace(image=IMAGE._replace(dirty=None), allocated=None, children=())], DEFAULTS, chain=False
    )
    assert "dirty-flag" not in text
    assert "actual-size" not in text
    assert '"children": [\n    ]' in text


def test_switches_change_what_info_shows() -> None:
    plain = info.human([DISK], DEFAULTS._replace(ignore_quirks=True))
    assert "    file length: 192 KiB (196616 bytes)\n" in plain
    detail = info.human([DISK], DEFAULTS._replace(extra_detail=True))
    assert "    image type: dynamic\n" in detail


def test_images_of_a_chain_are_divided_by_an_empty_line() -> None:
    assert info.human([DISK, DISK], DEFAULTS).count("\n\nimage: o.q\n") == 1


def test_text_from_an_image_cannot_steer_a_terminal() -> None:
    evil = "a\x1b[2Jb\n\u202ec\x9b"
    disk = DISK._replace(
        backing_filename=evil,
        full_backing_filename=evil,
        image=IMAGE._replace(snapshots=(Snapshot(evil, evil),), details={"name\x1b": evil}),
    )
    text = info.human([disk], DEFAULTS)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\x9b" not in text
    assert "backing file: a\\x1b[2Jb\\x0a\\u202ec\\x9b\n" in text
    assert printable("snäp-名") == "snäp-名"


def test_the_snapshot_table_counts_columns_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    clock = (3600 + 2 * 60 + 3) * 10**9 + 4_000_000
    lines = snapshots.table([Snapshot("1", "snäp-名", 0, 0, 0, clock), Snapshot("2", "x", 5 << 20, icount=7)])
    assert lines == [
        "ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT",
        "1       snäp-名             0 B 1970-01-01 00:00:00  0001:02:03.004         --",
        "2       x                   5 MiB 1970-01-01 00:00:00  0000:00:00.000          7",
    ]


def test_a_snapshots_date_out_of_range_is_shown_as_a_number() -> None:
    assert str(1 << 62) in snapshots.table([Snapshot("1", "x", seconds=1 << 62)])[1]


FILED = Look(1, True, False, True, False, True, "o.q")
PACKED = Look(0, True, False, True, True, False, "")
RESERVED = Look(2, True, True, False, False, True, "r.img")
RANGES = [
    Ranges([0], [65536], [327680], [FILED], b"\0"),
    Ranges([65536, 196608], [131072, 851968], [777, 0], [PACKED, RESERVED], b"\1\0"),
]


def test_map_as_json() -> None:
    assert "".join(map.json(RANGES)) == (
        '[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, '
        '"compressed": false, "offset": 327680},\n'
        '{ "start": 65536, "length": 131072, "depth": 0, "present": true, "zero": false, "data": true, '
        '"compressed": true},\n'
        '{ "start": 196608, "length": 851968, "depth": 2, "present": true, "zero": true, "data": false, '
        '"compressed": false, "offset": 0}]\n'
    )


@pytest.mark.parametrize("count", [map.AT_ONCE - 1, map.AT_ONCE, map.AT_ONCE + 1, 3 * map.AT_ONCE])
def test_map_as_json_holds_every_range_once_however_many_come_together(count: int) -> None:
    starts, offsets = list(range(0, 7 * count, 7)), list(range(count, 0, -1))
    looks = [(FILED, PACKED, RESERVED)[number % 3] for number in range(count)]
    batch = Ranges(starts, [7] * count, offsets, looks, bytes(count))
    shown = json.loads("".join(map.json([RANGES[0], batch, RANGES[0]])))
    assert [(one["start"], one["length"], one["depth"], one.get("offset")) for one in shown[1:-1]] == [
        (start, 7, look.depth, offset if look.placed else None)
        for start, offset, look in zip(starts, offsets, looks, strict=True)
    ]
    assert shown[0] == shown[-1]


def test_map_for_people_shows_data_and_stops_where_it_has_no_place() -> None:
    shown = map.human([RANGES[0] + RANGES[1]])
    assert next(shown) == "Offset          Length          Mapped to       File\n"
    assert next(shown) == "0               0x10000         0x50000         o.q\n"
    with pytest.raises(InstarError, match="File contains external, encrypted or compressed clusters"):
        next(shown)


CLEAN = CheckReport("o.q", "qcow2", 0, 0, 0, 16, 2, 0, 0, 458752)


def test_a_clean_check() -> None:
    assert check.human(CLEAN) == (
        "No errors were found on the image.\n"
        "2/16 = 12.50% allocated, 0.00% fragmented, 0.00% compressed clusters\n"
        "Image end offset: 458752\n"
    )
    assert check.json([CLEAN], steady=False) == (
        '{\n    "image-end-offset": 458752,\n    "total-clusters": 16,\n    "check-errors": 0,\n'
        '    "allocated-clusters": 2,\n    "filename": "o.q",\n    "format": "qcow2"\n}\n'
    )
    assert '"corruptions": 0,' in check.json([CLEAN], steady=True)
    assert check.code(CLEAN) == 0


@pytest.mark.parametrize(
    ("corruptions", "leaks", "errors", "code"), [(0, 1, 0, 3), (2, 1, 0, 2), (2, 0, 0, 2), (2, 1, 1, 1), (0, 0, 1, 1)]
)
def test_the_worst_finding_decides_the_exit_code(corruptions: int, leaks: int, errors: int, code: int) -> None:
    report = CLEAN._replace(corruptions=corruptions, leaks=leaks, errors=errors)
    assert check.code(report) == code
    text = check.human(report)
    assert ("\n2 errors were found on the image.\nData may be corrupted," in text) == bool(corruptions)
    assert ("\n1 leaked clusters were found on the image.\nThis means waste of disk space," in text) == bool(leaks)


def test_measure() -> None:
    found = Measurement(458752, 1376256, 0)
    assert measure.human(found) == "required size: 458752\nfully allocated size: 1376256\nbitmaps size: 0\n"
    assert measure.json(found) == '{\n    "bitmaps": 0,\n    "required": 458752,\n    "fully-allocated": 1376256\n}\n'
    assert "bitmaps" not in measure.human(found._replace(bitmaps=None)) + measure.json(found._replace(bitmaps=None))


@pytest.mark.parametrize(
    ("found", "strict", "text"),
    [
        (Comparison(True, "identical"), False, "Images are identical.\n"),
        (Comparison(True, "identical", -1, True, 512), False, "Warning: Image size mismatch!\nImages are identical.\n"),
        (Comparison(False, "content", 512, False, 1024), False, "Content mismatch at offset 512!\n"),
        (Comparison(False, "content", 512, True, 1024), False, "Content mismatch at offset 512!\n"),
        (
            Comparison(False, "content", 1536, True, 1024),
            False,
            "Warning: Image size mismatch!\nContent mismatch at offset 1536!\n",
        ),
        (Comparison(False, "size", -1, True), True, "Strict mode: Image size mismatch!\n"),
        (Comparison(False, "status", 0), True, "Strict mode: Offset 0 block status mismatch!\n"),
    ],
)
def test_compare(found: Comparison, strict: bool, text: str) -> None:
    assert compare.human(found, strict=strict) == text


def test_a_new_image_is_announced_with_commas_doubled() -> None:
    made = Creation("x", "qcow2", 512, (("cluster_size", 65536), ("backing_file", "a,b"), ("lazy_refcounts", False)))
    assert create.human(made) == "Formatting 'x', fmt=qcow2 cluster_size=65536 backing_file=a,,b lazy_refcounts=off\n"
