"""What the plugin says of images that qemu-img and qemu-io made, compared with what qemu-img says of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess

import pytest
from instar_qcow2 import hooks

from instar_core.source import Image, descriptor_source
from instar_core.types import Flag, Kind, Layer, LayerKind, Severity, Span, Tally

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not QEMU_IMG or not QEMU_IO, reason="needs qemu-img and qemu-io (INSTAR_QEMU_IMG, INSTAR_QEMU_IO)"
    ),
]


def qemu(folder, *words, codes=(0,)):
    done = subprocess.run([QEMU_IMG, *words], check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode in codes, (words, done.stderr)
    return done


def write(folder, name, *commands):
    words = [QEMU_IO, "-f", "qcow2"]
    for command in commands:
        words += ["-c", command]
    subprocess.run([*words, name], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def opened():
    """Opens files as devices of one image; closes them afterwards."""
    descriptors = []

    def opener(*paths):
        sources = []
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            descriptors.append(descriptor)
            status = os.fstat(descriptor)
            sources.append(descriptor_source(descriptor, status.st_size, status.st_blocks * 512))
        return Image(sources)

    yield opener
    for descriptor in descriptors:
        os.close(descriptor)


def mapped(image, span, layer=None):
    """The extents of a map, in the fields of qemu-img's JSON; without the holes that the host looks for."""
    entries = []
    position = span.start
    for extent in hooks.instar_map(image, layer or Layer(), span):
        assert extent.start == position and extent.length > 0
        position += extent.length
        entry = {
            "start": extent.start,
            "length": extent.length,
            "depth": 0,
            "present": extent.kind != Kind.ABSENT,
            "zero": extent.kind != Kind.DATA,
            "data": extent.kind == Kind.DATA,
            "compressed": bool(extent.coding),
        }
        if extent.offset >= 0 and not extent.coding:
            entry["offset"] = extent.offset
        entries.append(entry)
    assert position == span.start + span.length
    return merged(entries)


def merged(entries):
    made = []
    words = ("present", "zero", "data", "compressed")
    for entry in entries:
        if made:
            last = made[-1]
            goes_on = (
                last["offset"] + last["length"] == entry["offset"]
                if "offset" in last and "offset" in entry
                else ("offset" in last) == ("offset" in entry)
            )
            if goes_on and all(last[word] == entry[word] for word in words):
                last["length"] += entry["length"]
                continue
        made.append(dict(entry))
    return made


def checked(image):
    """The counts of a check by qemu-img's JSON names, and the lines."""
    *findings, tally = hooks.instar_check(image)
    assert isinstance(tally, Tally)
    counts = {
        "check-errors": tally.errors,
        "image-end-offset": tally.end,
        "total-clusters": tally.total,
        "allocated-clusters": tally.allocated,
        "fragmented-clusters": tally.fragmented,
        "compressed-clusters": tally.compressed,
        "corruptions": sum(found.count for found in findings if found.severity == Severity.CORRUPTION),
        "leaks": sum(found.count for found in findings if found.severity == Severity.LEAK),
    }
    return {name: count for name, count in counts.items() if count}, [found.text for found in findings]


def same_as_qemu(folder, image, name="t.qcow2"):
    """Asserts that info, map and check of an image without a backing file agree with qemu-img's."""
    info = hooks.instar_info(image)
    theirs = json.loads(qemu(folder, "info", "--output=json", "-f", "qcow2", name).stdout)
    assert info.virtual_size == theirs["virtual-size"]
    assert info.cluster_size == theirs["cluster-size"]
    assert info.dirty == theirs["dirty-flag"]
    assert dict(info.details) == theirs["format-specific"]["data"]
    assert [(s.id, s.name, s.state_size, s.seconds, s.nanoseconds, s.icount) for s in info.snapshots] == [
        (s["id"], s["name"], s["vm-state-size"], s["date-sec"], s["date-nsec"], s.get("icount"))
        for s in theirs.get("snapshots", ())
    ]
    whole = Span(0, info.virtual_size)
    ours = mapped(image, whole)
    map_ = json.loads(qemu(folder, "map", "--output=json", "-f", "qcow2", name).stdout)
    if any(extent.flags & Flag.REFINE for extent in hooks.instar_map(image, Layer(), whole)):
        for entry in map_:
            entry["zero"] = entry["zero"] and not entry["data"]
        map_ = merged(map_)
    assert ours == map_
    done = qemu(folder, "check", "--output=json", "-f", "qcow2", name, codes=(0, 2, 3))
    expected = {key: value for key, value in json.loads(done.stdout).items() if value and not isinstance(value, str)}
    assert checked(image) == (expected, done.stderr.splitlines())
    return info


HISTORIES = {
    "a new image": ("", "4M", ()),
    "data, zeros and holes": ("", "4M", ("write 0 64k", "write -z 1M 100k", "write 2M 300k", "discard 2M 64k")),
    "clusters of 512 bytes": ("cluster_size=512", "300k", ("write 100 5000", "write -z 20k 3k", "write 200k 512")),
    "clusters of 2 MiB": ("cluster_size=2M", "9M", ("write 3M 100k", "write -z 4M 2M")),
    "version 2": ("compat=0.10", "4M", ("write 0 64k", "write -c 1M 64k", "write 2M 100k")),
    "refcounts of 1 bit": ("refcount_bits=1", "4M", ("write 0 500k", "write 1M 64k")),
    "refcounts of 4 bits": ("refcount_bits=4", "4M", ("write 0 500k", "write -c 1M 64k", "write -c 1088k 64k")),
    "refcounts of 64 bits": ("refcount_bits=64", "4M", ("write 0 500k", "write -c 1M 64k")),
    "compressed clusters": ("", "4M", ("write -c 0 64k", "write -c 64k 64k", "write -c 1M 64k", "write 2M 64k")),
    "subclusters": (
        "extended_l2=on,cluster_size=64k",
        "4M",
        ("write 0 64k", "write 130k 1k", "write -z 140k 6k", "write -z 512k 128k", "write -c 1M 64k", "discard 4k 2k"),
    ),
    "metadata preallocation": ("preallocation=metadata", "64M", ("write 1M 64k",)),
    "preallocated subclusters": ("preallocation=metadata,extended_l2=on,cluster_size=128k", "64M", ("write 1M 64k",)),
    "preallocation by falloc": ("preallocation=falloc", "4M", ()),
    "a size that is no multiple of a cluster": ("cluster_size=4k", "10241k", ("write 0 8k", "write 10232k 9k")),
    "an empty disk of 64 TiB": ("", "64T", ()),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_info_map_and_check_agree_with_qemu_img(tmp_path, opened, history):
    options, size, commands = history
    qemu(tmp_path, "create", "-q", "-f", "qcow2", *(("-o", options) if options else ()), "t.qcow2", size)
    if commands:
        write(tmp_path, "t.qcow2", *commands)
    same_as_qemu(tmp_path, opened(tmp_path / "t.qcow2"))


def test_an_image_with_snapshots_and_bitmaps_agrees_with_qemu_img(tmp_path, opened):
    qemu(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "t.qcow2", "2M")
    for number in range(3):
        write(tmp_path, "t.qcow2", f"write -P {number + 1} {number * 4096} 16k", f"write -c {(number + 80) * 4096} 4k")
        qemu(tmp_path, "snapshot", "-c", f"name {number}", "t.qcow2")
    qemu(tmp_path, "bitmap", "--add", "-g", "512", "t.qcow2", "one")
    qemu(tmp_path, "bitmap", "--add", "--disable", "t.qcow2", "two")
    write(tmp_path, "t.qcow2", "write 1M 8k")
    info = same_as_qemu(tmp_path, opened(tmp_path / "t.qcow2"))
    assert [snapshot.name for snapshot in info.snapshots] == ["name 0", "name 1", "name 2"]
    assert [(bitmap.name, bitmap.granularity, bitmap.flags) for bitmap in info.bitmaps] == [
        ("one", 512, ("auto",)),
        ("two", 4096, ()),
    ]


def test_a_snapshot_maps_as_the_disk_was_when_it_was_taken(tmp_path, opened):
    qemu(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "t.qcow2", "1M")
    write(tmp_path, "t.qcow2", "write -P 1 0 64k")
    before = json.loads(qemu(tmp_path, "map", "--output=json", "t.qcow2").stdout)
    qemu(tmp_path, "snapshot", "-c", "then", "t.qcow2")
    write(tmp_path, "t.qcow2", "write -P 2 8k 64k", "discard 0 4k")
    image = opened(tmp_path / "t.qcow2")
    layer = Layer(LayerKind.SNAPSHOT, hooks.instar_info(image).snapshots[0].id)
    assert mapped(image, Span(0, 1 << 20), layer) == before
    assert mapped(image, Span(0, 1 << 20)) != before


@pytest.mark.parametrize("raw", ["on", "off"])
def test_data_of_an_image_with_a_data_file_lies_in_device_1(tmp_path, opened, raw):
    options = f"data_file=d.raw,data_file_raw={raw}"
    qemu(tmp_path, "create", "-q", "-f", "qcow2", "-o", options, "t.qcow2", "4M")
    write(tmp_path, "t.qcow2", "write 0 64k", "write 1M 64k", "write -z 2M 64k")
    image = opened(tmp_path / "t.qcow2", tmp_path / "d.raw")
    info = same_as_qemu(tmp_path, image)
    assert [(reference.role, reference.name) for reference in info.references] == [("data", b"d.raw")]
    data = [extent for extent in hooks.instar_map(image, Layer(), Span(0, 4 << 20)) if extent.kind == Kind.DATA]
    assert {extent.device for extent in data} == {1}


def test_a_backing_file_is_named_with_its_format(tmp_path, opened):
    qemu(tmp_path, "create", "-q", "-f", "raw", "b.raw", "1M")
    qemu(tmp_path, "create", "-q", "-f", "qcow2", "-b", "b.raw", "-F", "raw", "t.qcow2")
    (reference,) = hooks.instar_info(opened(tmp_path / "t.qcow2")).references
    assert (reference.role, reference.name, reference.format) == ("backing", b"b.raw", "raw")


def test_an_encrypted_image_shows_its_luks_header_and_is_blocked(tmp_path, opened):
    secret = ("--object", "secret,id=s,data=abc")
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    qemu(tmp_path, "create", "-q", *secret, "-f", "qcow2", "-o", options, "t.qcow2", "1M")
    info = hooks.instar_info(opened(tmp_path / "t.qcow2"))
    theirs = json.loads(qemu(tmp_path, "info", "--output=json", "t.qcow2").stdout)
    assert dict(info.details) == theirs["format-specific"]["data"]
    assert info.encrypted
    assert info.blocked == "Parameter 'encrypt.key-secret' is required for cipher"


WORD = 8
SPOILED = (0, 1, 0x200, 0x1000, 0x5000, 1 << 56, 1 << 63, (1 << 63) | 0x6000, (1 << 62) | 0x12345, (1 << 64) - 512)


@pytest.mark.parametrize(
    "options", ["cluster_size=4k", "cluster_size=16k,extended_l2=on", "cluster_size=4k,refcount_bits=1"]
)
def test_check_finds_what_qemu_img_finds_in_spoiled_metadata(tmp_path, opened, options):
    qemu(tmp_path, "create", "-q", "-f", "qcow2", "-o", options, "t.qcow2", "2M")
    compressed = () if "bits=1" in options else ("write -c 512k 16k",)
    write(tmp_path, "t.qcow2", "write 0 64k", "write -z 100k 20k", "write 1M 8k", *compressed)
    sound = (tmp_path / "t.qcow2").read_bytes()
    choice = random.Random(7)
    l1 = int.from_bytes(sound[40:48], "big")
    l2 = int.from_bytes(sound[l1 : l1 + 8], "big") & 0xFFFFFFFFFFFE00
    table = int.from_bytes(sound[48:56], "big")
    block = int.from_bytes(sound[table : table + 8], "big")
    places = [l1, table, *(l2 + WORD * index for index in range(40)), *(block + 2 * index for index in range(16))]
    differing = 0
    for _ in range(40):
        spoiled = bytearray(sound)
        at = choice.choice(places)
        spoiled[at : at + WORD] = choice.choice(SPOILED).to_bytes(WORD, "big")
        (tmp_path / "t.qcow2").write_bytes(spoiled)
        done = qemu(tmp_path, "check", "--output=json", "-f", "qcow2", "t.qcow2", codes=(0, 1, 2, 3))
        counts, lines = checked(opened(tmp_path / "t.qcow2"))
        theirs = {key: value for key, value in json.loads(done.stdout).items() if value and not isinstance(value, str)}
        assert counts == theirs, (at, done.stderr)
        assert lines == [line for line in done.stderr.splitlines() if "Check failed" not in line]
        differing += bool(lines)
    assert differing > 10
