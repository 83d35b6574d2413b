"""Volumes as disks: judged by what genisoimage and isoinfo say, and by qemu-img, for which they are raw."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from instar_iso import SPEC, hooks

import instar_core
from instar_core.operations.compare import compare
from instar_core.operations.convert import convert
from instar_core.operations.info import info
from instar_core.operations.map import map_
from instar_core.settings import Settings
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, ProbeView, Span

INLINE = Settings(sandbox="inline")


def quirk(name):
    """Marks the test that proves an entry of docs/quirks.toml."""
    return name


def opened(data):
    return Image([bytes_source(data)])


def test_a_volume_is_claimed_by_its_standard_identifier_only(builder):
    data = builder.image()
    view = ProbeView(data[:73728], data[-4096:], len(data))
    assert hooks.instar_probe(view).format == "iso"
    assert hooks.instar_probe(view._replace(head=data[:32769])) is None
    assert hooks.instar_probe(ProbeView(b"", b"", 0)) is None


def test_the_facts_of_a_volume_come_with_it(builder):
    said = hooks.instar_info(opened(builder.image()))
    assert said.extra == {
        "volume-size": 25 * 2048,
        "block-size": 2048,
        "volume-id": "VOLUME",
        "system-id": "SYSTEM",
        "created": "2026-11-21 13:00:00",
        "bootable": True,
    }
    assert said.virtual_size == 25 * 2048
    assert said.references == ()
    assert not said.details


def test_the_disk_is_the_whole_file_rounded_up_to_sectors(builder):
    data = builder.image(trailing=700)
    said = hooks.instar_info(opened(data))
    assert said.virtual_size == len(data) + 324
    first, last = hooks.instar_map(opened(data), Layer(), Span(0, said.virtual_size))
    assert (first.start, first.length, first.kind, first.offset) == (0, len(data), Kind.DATA, 0)
    assert (last.start, last.length, last.kind) == (len(data), 324, Kind.ZERO)
    (inside,) = hooks.instar_map(opened(data), Layer(), Span(5000, 9))
    assert (inside.start, inside.length, inside.offset) == (5000, 9, 5000)


@pytest.mark.oracle
def test_isoinfo_says_the_same_of_volumes_of_genisoimage(volumes):
    program = shutil.which("isoinfo")
    if program is None:
        pytest.skip("isoinfo is not installed")
    for name, path in volumes.items():
        text = subprocess.run([program, "-d", "-i", path], check=True, capture_output=True, text=True).stdout
        told = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        extra = hooks.instar_info(opened(path.read_bytes())).extra
        assert extra["volume-id"] == told["Volume id"]
        assert extra["system-id"] == told["System id"]
        assert extra["block-size"] == int(told["Logical block size is"])
        assert extra["volume-size"] == int(told["Volume size is"]) * extra["block-size"]
        assert bool(extra.get("bootable")) == ("El Torito VD version" in text) == (name == "bootable")
        assert bool(extra.get("joliet")) == ("Joliet with UCS level" in text) == (name == "joliet and rock ridge")


@pytest.mark.oracle
def test_content_and_map_are_those_that_qemu_img_has_for_the_raw_file(volumes, tmp_path):
    program = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if program is None:
        pytest.skip("qemu-img is not installed")
    for name, path in volumes.items():
        said = info(str(path), settings=INLINE)[0]
        assert said.image.format == "iso"
        target = tmp_path / f"{name}.raw"
        convert([str(path)], str(target), settings=INLINE)
        done = subprocess.run([program, "compare", "-f", "raw", "-F", "raw", path, target], check=False)
        assert done.returncode == 0, done
        answer = [program, "map", "-f", "raw", "--output=json", path]
        want = json.loads(subprocess.run(answer, check=True, capture_output=True).stdout)
        have = [(one.start, one.length, one.data, one.zero, one.offset) for one in map_(str(path), settings=INLINE)]
        assert have == [(one["start"], one["length"], one["data"], one["zero"], one["offset"]) for one in want]
        assert compare(str(path), str(target), second_format="raw", settings=INLINE).identical


def test_a_volume_with_a_partition_table_is_still_a_volume(builder, tmp_path):
    hybrid = bytearray(builder.image())
    hybrid[510:512] = b"\x55\xaa"
    hybrid[446:462] = bytes.fromhex("80000100170001000000000000010000")[:16]
    path = tmp_path / "hybrid.iso"
    path.write_bytes(hybrid)
    assert info(str(path), settings=INLINE)[0].image.format == "iso"
    assert info(str(path), settings=INLINE._replace(unsafe_quirks=True))[0].image.format == "raw"
    assert quirk("iso-is-not-raw")


def test_the_specification_claims_no_more_than_there_is():
    assert SPEC.capabilities == {"read", "check"}
    assert not SPEC.options


def test_a_format_that_is_named_is_checked(tmp_path):
    from instar_core.errors import FormatError

    path = tmp_path / "zeros"
    path.write_bytes(bytes(1 << 20))
    for ask in (instar_core.info, instar_core.check):
        with pytest.raises(FormatError, match="Image is not an ISO 9660 volume"):
            ask(str(path), format="iso")
