"""What check finds. qemu-img has no check for this format, so images are broken here one way at a time."""

from __future__ import annotations

import struct

import pytest
from instar_qcow import hooks

import instar_core
from instar_core.source import Image, bytes_source
from instar_core.types import Finding, Severity, Tally

SIZE = 4 << 20
L1 = 48
"""Where the L1 table of an image without a backing file lies."""


@pytest.fixture
def data(builder):
    """An image with clusters 0 to 3, in order, and cluster 600, each filled with its mark."""
    return bytearray(builder(SIZE, {0: b"a", 1: b"b", 2: b"c", 3: b"d", 600: b"e"}, 12, 9))


def found(data):
    """The findings as (severity, text, count), and the tally."""
    *made, tally = hooks.instar_check(Image([bytes_source(bytes(data))]))
    assert isinstance(tally, Tally)
    assert all(isinstance(one, Finding) for one in made)
    return [(one.severity, one.text, one.count) for one in made], tally


def number(data, at, value=None):
    """The 64-bit number at this place; with `value`, it becomes that."""
    if value is not None:
        data[at : at + 8] = struct.pack(">Q", value)
    return struct.unpack_from(">Q", data, at)[0]


def entry(data, cluster):
    """Where the L2 entry of a cluster lies."""
    return number(data, L1 + 8 * (cluster >> 9)) + 8 * (cluster & 511)


def test_a_sound_image_has_only_counts(data):
    assert found(data) == ([], Tally(1024, 5, 0, 0, len(data)))


def test_clusters_that_nothing_refers_to_are_leaks(data):
    first = number(data, entry(data, 1)) // 4096
    number(data, entry(data, 1), 0)
    number(data, entry(data, 2), 0)
    assert found(data)[0] == [(Severity.LEAK, f"Leaked clusters {first} to {first + 1}", 2)]
    end = len(data) // 4096
    assert found(data + bytes(4096))[0][1] == (Severity.LEAK, f"Leaked cluster {end}", 1)


def test_a_cluster_past_the_end_is_a_corruption(data):
    number(data, entry(data, 1), 1 << 40)
    assert found(data)[0][0] == (
        Severity.CORRUPTION,
        f"ERROR cluster 1 at {1 << 40:#x} does not lie inside the file",
        1,
    )


def test_the_last_cluster_may_be_short(data):
    assert found(data[:-3584])[0] == []
    (one,) = found(data[:-4096])[0]
    assert one[0] == Severity.CORRUPTION


def test_two_clusters_at_one_place_are_a_corruption(data):
    where = number(data, entry(data, 2))
    number(data, entry(data, 600), where)
    kinds = [(severity, text) for severity, text, _ in found(data)[0]]
    assert (Severity.CORRUPTION, f"ERROR 4096 bytes at {where:#x} are in use twice") in kinds


def test_a_cluster_in_the_metadata_is_a_corruption(data):
    where = number(data, L1)
    number(data, entry(data, 1), where)
    text = f"ERROR 4096 bytes at {where:#x} are in use twice"
    assert (Severity.CORRUPTION, text, 1) in found(data)[0]


@pytest.mark.parametrize("value", (4097, (1 << 62) + 512, 1 << 63, 1 << 63 | 4096))
def test_an_entry_that_makes_no_sense_is_a_corruption(data, value):
    number(data, entry(data, 1), value)
    assert (Severity.CORRUPTION, "ERROR the L2 entry of cluster 1 makes no sense", 1) in found(data)[0]


@pytest.mark.parametrize("value", (1 << 40, (1 << 64) - 512, 1 << 63))
def test_a_table_past_the_end_is_a_corruption(data, value):
    number(data, L1 + 8, value)
    text = f"ERROR the L2 table 1 at {value:#x} does not lie inside the file"
    assert (Severity.CORRUPTION, text, 1) in found(data)[0]


def test_an_l1_table_past_the_end_is_a_corruption(data):
    number(data, 40, 1 << 40)
    assert found(data)[0][0] == (Severity.CORRUPTION, "ERROR the L1 table does not lie inside the file", 1)


def test_compressed_clusters_are_counted_and_may_share_a_sector(data, host):
    stored = host.deflate(b"z" * 4096)
    for cluster in (0, 1):
        number(data, entry(data, cluster), 1 << 63 | len(stored) << 51 | len(data))
        data += stored
    findings, tally = found(data)
    assert [severity for severity, _, _ in findings] == [Severity.LEAK]
    assert (tally.compressed, tally.allocated) == (2, 5)
    number(data, entry(data, 1), number(data, entry(data, 0)) + 1)
    assert any("in use twice" in text for _, text, _ in found(data)[0])


def test_a_compressed_cluster_past_the_end_is_a_corruption(data):
    number(data, entry(data, 1), 1 << 63 | 100 << 51 | len(data) - 99)
    assert any("cluster 1 at" in text for _, text, _ in found(data)[0])


def test_many_stretches_do_not_fill_memory(monkeypatch, data):
    monkeypatch.setattr("instar_qcow.limits.CHECK_RUNS", 1)
    assert found(data)[0] == [(Severity.NOTE, "The image is too fragmented to look for overlaps and leaks", 1)]


@pytest.mark.oracle
def test_what_qemu_writes_is_sound(tmp_path, host, programs):
    path = tmp_path / "disk.qcow"
    for backing in ("", "base.raw"):
        (tmp_path / "base.raw").write_bytes(bytes(SIZE))
        given = ("-b", backing, "-F", "raw") if backing else ()
        programs.img("create", "-q", "-f", "qcow", *given, path, SIZE, cwd=tmp_path)
        programs.io(path, "write -P 1 64k 100k", f"write -c -P 2 1M {512 if backing else 4096}", "write -P 3 3M 5k")
        with host.Opened(path) as opened:
            assert opened.findings() == []
            assert opened.tally().compressed == 1


def test_what_lies_past_the_end_of_the_file_leaks_nothing(tmp_path):
    from instar_core.cli.main import main

    path = tmp_path / "image"
    assert main(["qemu-img", "create", "-q", "-f", "qcow", str(path), "1M"]) == 0
    with open(path, "r+b") as file:
        file.seek(40)
        file.write((4 << 30).to_bytes(8, "big"))
    found = [one for one in instar_core.check(str(path), format="qcow").findings if one.severity]
    assert all("Leaked" not in one.text or one.count < 8 for one in found), found
