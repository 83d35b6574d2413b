"""Images written here, judged by the readers of others."""

from __future__ import annotations

import random
import struct

import pytest
from instar_qcow import SPEC, hooks

from instar_core.errors import ContractViolation, FormatError
from instar_core.types import Copy, Kind, Put, Run, SnapshotEdit

SIZE = 5 * (1 << 20) + 512 * 33


def scattered(seed, size=SIZE):
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(7):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([1, 512, 65536, 300000, 1 << 20]))
        made[at : at + length] = choose.randbytes(length) if choose.random() < 0.6 else b"\xa5" * length
    return bytes(made)


def meta(host, size, runs, **options):
    """The edits for these runs, without any file."""
    return list(hooks.instar_write(None, host.request(size, **options), iter(runs)))


@pytest.mark.oracle
@pytest.mark.parametrize("compress", (False, True), ids=("plain", "compressed"))
@pytest.mark.parametrize("seed", range(3))
def test_content_reads_back_for_qemu_and_here(compress, seed, tmp_path, host, programs, agree):
    path = tmp_path / "disk.qcow"
    host.create(path, SIZE, scattered(seed), chunk=(4096, 1 << 20, 16 << 20)[seed], compress=compress)
    assert agree(path) == scattered(seed)
    with host.Opened(path) as opened:
        assert opened.findings() == []


@pytest.mark.oracle
@pytest.mark.parametrize("size", (512, 4096, 4096 + 512, (2 << 20) - 512, (2 << 20) + 512, (34 << 20) + 512))
def test_any_size_can_be_full_and_can_be_empty(size, tmp_path, host, agree):
    content = random.Random(size).randbytes(size)
    host.create(tmp_path / "full.qcow", size, content)
    assert agree(tmp_path / "full.qcow") == content
    host.create(tmp_path / "empty.qcow", size)
    assert agree(tmp_path / "empty.qcow") == bytes(size)


@pytest.mark.oracle
@pytest.mark.parametrize("size", (513, 512, 2 << 20, (2 << 20) + 1, 10 << 20, 1 << 40))
@pytest.mark.parametrize("backing", (None, "base.raw", "x" * 57, "/a/longer/name/of/a/backing.raw"))
def test_an_empty_image_is_byte_for_byte_qemus(size, backing, tmp_path, host, programs):
    given = ("-u", "-b", backing, "-F", "raw") if backing else ()
    programs.img("create", "-q", "-f", "qcow", *given, tmp_path / "theirs", size)
    wanted = {"backing": {"name": backing.encode(), "format": "raw", "size": size}} if backing else {}
    host.create(tmp_path / "ours", size, **wanted)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.oracle
@pytest.mark.parametrize("compress", (False, True), ids=("plain", "compressed"))
def test_zeros_over_a_parent_are_written(compress, tmp_path, host, programs):
    size = 10 * 65536 + 512
    parent = random.Random(2).randbytes(size)
    (tmp_path / "base.raw").write_bytes(parent)
    new = bytearray(parent)
    new[65536 : 3 * 65536] = bytes(2 * 65536)
    new[5 * 65536 : 6 * 65536] = b"x" * 65536
    new[10 * 65536 :] = bytes(512)
    path = tmp_path / "disk.qcow"
    skip = [(0, 65536), (3 * 65536, 5 * 65536), (6 * 65536, 10 * 65536)]
    backing = {"name": b"base.raw", "format": "raw", "size": size}
    host.create(path, size, bytes(new), skip=skip, backing=backing, compress=compress)
    with host.Opened(path) as opened:
        assert opened.content(parent=parent) == bytes(new)
        assert opened.findings() == []
    assert programs.content(path) == bytes(new)
    assert programs.answer("info", path)["backing-filename"] == "base.raw"


@pytest.mark.oracle
@pytest.mark.parametrize("compress", (False, True), ids=("plain", "compressed"))
def test_libqcow_reads_it(compress, tmp_path, host):
    pyqcow = pytest.importorskip("pyqcow", reason="libqcow's Python module is not installed")
    content = scattered(4, 6 << 20)
    host.create(tmp_path / "disk.qcow", len(content), content, compress=compress)
    found = pyqcow.file()
    found.open(str(tmp_path / "disk.qcow"))
    assert found.get_media_size() == len(content)
    assert found.read_buffer_at_offset(len(content), 0) == content
    found.close()


@pytest.mark.oracle
def test_seven_zip_reads_it(tmp_path, host, programs):
    content = bytearray(scattered(4, 6 << 20))
    content[510:512] = b"\x55\xaa"
    host.create(tmp_path / "disk.qcow", len(content), bytes(content))
    assert programs.run(programs.find("7z"), "x", "-so", tmp_path / "disk.qcow").stdout == bytes(content)


def test_before_the_last_barrier_there_is_no_image(tmp_path, host):
    count = len(meta(host, SIZE, [Run(0, 1 << 20)]))
    path = tmp_path / "disk.qcow"
    for stop in range(2, count):
        path.write_bytes(b"QFI\xfb\0\0\0\1" + b"\xff" * 1000)
        host.create(path, SIZE, b"x" * (1 << 20), stop=stop)
        with pytest.raises(FormatError):
            host.Opened(path)


def test_what_commits_is_one_put_of_the_header(tmp_path, host):
    done = host.create(tmp_path / "disk.qcow", SIZE, scattered(1))
    (edit,) = done.after_barrier
    assert isinstance(edit, Put)
    assert (edit.offset, len(edit.data), done.barriers) == (0, 48, 1)


def test_an_older_and_longer_file_leaves_no_trace(tmp_path, host):
    path = tmp_path / "disk.qcow"
    path.write_bytes(b"\xff" * (12 << 20))
    host.create(path, SIZE, scattered(1))
    with host.Opened(path) as opened:
        assert opened.content() == scattered(1)


def test_contiguous_content_stays_contiguous_over_a_large_image(host):
    size = 1 << 36
    copies, largest = [], 0
    for edit in hooks.instar_write(None, host.request(size), iter([Run(0, size)])):
        if isinstance(edit, Put):
            largest = max(largest, len(edit.data))
        elif isinstance(edit, Copy):
            copies.append(edit.length)
    assert sum(copies) == size
    assert min(copies) >= 32 << 20
    assert largest <= 4 << 20


def test_compressed_clusters_lie_byte_to_byte(host):
    edits = meta(host, 1 << 20, [Run(0, 4096, Kind.DATA, 100, 1), Run(4096, 4096, Kind.DATA, 4095, 1)], compress=True)
    copies = [(edit.start, edit.offset, edit.length) for edit in edits if type(edit).__name__ == "Copy"]
    assert copies == [(0, 560, 100), (4096, 660, 4095)]
    table = next(edit.data for edit in edits if isinstance(edit, Put) and len(edit.data) == 4096)
    assert struct.unpack(">2Q", table[:16]) == (1 << 63 | 100 << 51 | 560, 1 << 63 | 4095 << 51 | 660)


@pytest.mark.parametrize("stored", (0, 4096, 1 << 20))
def test_a_compressed_run_that_an_entry_cannot_hold_is_the_hosts_fault(stored, host):
    with pytest.raises(ContractViolation):
        meta(host, 1 << 20, [Run(0, 4096, Kind.DATA, stored, 1)], compress=True)


@pytest.mark.parametrize(
    "size, options, message",
    [
        (0, {}, "Image size is too small, cannot be zero length"),
        (1 << 60, {}, "too large"),
        (((1 << 31) // 8) << 21, {}, "too large"),
        (512, {"encryption": True}, "Parameter 'encrypt.key-secret' is required for cipher"),
        (512, {"encrypt.format": "aes"}, "Parameter 'encrypt.key-secret' is required for cipher"),
        (512, {"encrypt.key-secret": "s"}, "Parameter 'encrypt.format' is missing"),
        (512, {"encrypt.format": "luks", "encrypt.key-secret": "s"}, "Unsupported encryption format"),
        (512, {"encrypt.format": "aes", "encryption": True}, "'encrypt.format' and its alias 'encryption' can't"),
        (
            512,
            {"encryption": True, "encrypt.key-secret": "s", "compress": True},
            "Compression and encryption not supported at the same time",
        ),
        (512, {"backing_file": "x" * 1024}, "Backing file name too long"),
    ],
)
def test_options_that_cannot_be_had_are_refused_as_by_qemu(size, options, message, host):
    with pytest.raises(FormatError, match=message):
        meta(host, size, [], **options)


def test_an_existing_image_is_not_changed():
    with pytest.raises(FormatError):
        list(hooks.instar_write(None, SnapshotEdit("create", "x"), ()))


@pytest.mark.oracle
def test_the_options_and_their_help_are_qemus(programs):
    said = programs.img("create", "-f", "qcow", "-o", "help").stdout.decode()
    theirs = {}
    for line in said.split("\n"):
        if line.startswith("  ") and "=<" in line:
            name, _, text = line.lstrip().partition("=<")
            theirs[name] = text.partition(" - ")[2]
    assert {option.name: option.help for option in SPEC.options} == theirs


@pytest.mark.oracle
def test_the_options_stand_in_qemus_order(tmp_path, programs):
    secret = ("--object", "secret,id=s,data=abc")
    (tmp_path / "base").write_bytes(bytes(512))
    given = "encrypt.key-secret=s,encrypt.format=aes,backing_fmt=raw,backing_file=base"
    for options in (given, given.replace("encrypt.format=aes", "encryption=on")):
        line = programs.img("create", *secret, "-f", "qcow", "-o", options, "disk", "1M", cwd=tmp_path).stdout.decode()
        named = [word.partition("=")[0] for word in line.split("fmt=qcow ")[1].split()]
        assert named == [option.name for option in SPEC.options if option.name in named]
        assert len(named) == 5
