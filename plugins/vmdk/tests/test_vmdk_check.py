"""What check finds, and that it fails where qemu-img's check fails and nowhere else."""

from __future__ import annotations

import struct

import pytest
from instar_vmdk import hooks

from instar_core.errors import FormatError
from instar_core.types import Severity, Tally

SIZE = 8 << 20
PRIMARY = 26 * 512
"""Where the grain directory of an image of this size lies; its only table follows."""
REDUNDANT = 21 * 512


@pytest.fixture
def image(tmp_path, host):
    """An image with grains 0 to 3 and 16 to 17."""
    path = tmp_path / "disk.vmdk"
    host.create(path, SIZE, b"\1" * (256 << 10) + bytes(768 << 10) + b"\2" * (128 << 10))
    return path


@pytest.fixture
def stream(tmp_path, host):
    path = tmp_path / "disk.vmdk"
    host.create(path, SIZE, b"\1" * (256 << 10), subformat="streamOptimized")
    return path


def put(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def entry(path, index, sector, *, both=True):
    for directory in (PRIMARY, REDUNDANT)[: 1 + both]:
        put(path, directory + 512 + 4 * index, struct.pack("<I", sector))


def found(host, path):
    """Findings, and the message with which the check failed, if it did."""
    made = []
    with host.Opened(path) as opened:
        try:
            made.extend(hooks.instar_check(opened.image()))
        except FormatError as error:
            return made, error.message
    assert isinstance(made.pop(), Tally)
    return made, None


@pytest.mark.oracle
@pytest.mark.parametrize("sector", (0x7FFFFFFF, 896))
@pytest.mark.parametrize("index", (0, 2))
def test_a_grain_past_the_end_fails_the_check_as_in_qemu(image, index, sector, host, programs):
    assert image.stat().st_size == 896 * 512
    entry(image, index, sector)
    theirs = programs.img("check", "-f", "vmdk", image, check=False)
    line, last = theirs.stderr.decode().splitlines()
    findings, message = found(host, image)
    assert [finding.text for finding in findings if finding.severity == Severity.CORRUPTION] == [line]
    assert last == f"qemu-img: Check failed: {message}"
    assert theirs.returncode == 1


CHANGES = {
    "shares": lambda path: entry(path, 2, 256),
    "in metadata": lambda path: entry(path, 2, 3),
    "begins inside": lambda path: entry(path, 2, 895),
    "no table": lambda path: [put(path, at, struct.pack("<I", 0)) for at in (PRIMARY, REDUNDANT)],
    "copies differ": lambda path: entry(path, 2, 0, both=False),
    "one directory": lambda path: put(path, PRIMARY, struct.pack("<I", 0)),
    "not closed": lambda path: put(path, 72, b"\1"),
    "text transfer": lambda path: put(path, 73, b"\n \n\n"),
    "create type": lambda path: put(path, 512 + path.read_bytes()[512:2048].find(b"Sparse"), b"Flat  "),
}


@pytest.mark.oracle
@pytest.mark.parametrize("change", CHANGES)
def test_what_qemu_does_not_mention_is_a_note(image, change, host, programs):
    CHANGES[change](image)
    assert programs.img("check", "-f", "vmdk", image).returncode == 0
    findings, message = found(host, image)
    assert message is None
    assert {finding.severity for finding in findings} == {Severity.NOTE}


LOST = {
    "table": ("Grain table 0", lambda path: [put(path, at, struct.pack("<I", 1 << 30)) for at in (PRIMARY, REDUNDANT)]),
    "directory": ("The grain directory", lambda path: put(path, 56, struct.pack("<Q", 1 << 30))),
}


@pytest.mark.oracle
@pytest.mark.parametrize("which", LOST)
def test_a_table_or_directory_past_the_end_is_found_where_qemu_finds_nothing(image, which, host, programs):
    """quirk("vmdk-check-sees-more")"""
    what, change = LOST[which]
    change(image)
    theirs = programs.img("check", "-f", "vmdk", image)
    assert theirs.returncode == 0
    assert theirs.stdout == b"No errors were found on the image.\n"
    assert not any(programs.content(image))
    findings, message = found(host, image)
    assert message is None
    texts = [finding.text for finding in findings if finding.severity == Severity.CORRUPTION]
    assert texts == [f"{what} is not inside the file"]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "at, data, words",
    [
        (8, struct.pack("<I", 0), "claims 0 bytes"),
        (8, struct.pack("<I", 1 << 30), "claims"),
        (0, b"\7", "for sector 7"),
    ],
)
def test_a_wrong_marker_is_a_note(stream, at, data, words, host, programs):
    put(stream, 128 * 512 + at, data)
    assert programs.img("check", "-f", "vmdk", stream).returncode == 0
    findings, message = found(host, stream)
    assert message is None
    assert [finding.severity for finding in findings] == [Severity.NOTE]
    assert words in findings[0].text


def test_a_marker_that_claims_nothing_cannot_be_mapped(stream, host):
    put(stream, 128 * 512 + 8, bytes(4))
    with host.Opened(stream) as opened, pytest.raises(FormatError, match="claims 0 bytes"):
        opened.extents()


def test_extents_that_are_shorter_than_said_are_notes(tmp_path, descriptor, host):
    (tmp_path / "a").write_bytes(bytes(1000))
    host.create(tmp_path / "b", SIZE)
    path = descriptor("custom", 'RW 8 FLAT "a" 0', 'RW 8 SPARSE "b"')
    findings, message = found(host, path)
    assert message is None
    assert [finding.severity for finding in findings] == [Severity.NOTE] * 2
    assert "ends before" in findings[0].text
    assert "16384 sectors, but the descriptor says 8" in findings[1].text


def test_many_overlaps_do_not_fill_memory(monkeypatch, image, host):
    monkeypatch.setattr("instar_vmdk.limits.CHECK_RUNS", 1)
    entry(image, 2, 256)
    findings, _ = found(host, image)
    assert [finding.text for finding in findings] == ["The extent is too fragmented to look for grains that overlap"]
