"""Chains of VHD files, as functions and as the command vhd-util, judged by qemu-img and libvhdi."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from instar_core import disk as disks
from instar_core import registry
from instar_core.changing import Changing
from instar_core.cli.vhd_util import main
from instar_core.compat import vhd
from instar_core.errors import DeviceError, ErrorKind, FormatError, InstarError, UsageError
from instar_core.operations.check import check
from instar_core.operations.create import create
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.testing.foreign import Programs

if "vpc" not in registry.entries():
    pytest.skip("instar-vpc is not installed", allow_module_level=True)

MIB = 1 << 20
SECTOR = 512
INLINE = Settings(sandbox="inline")
JAILED = Settings(sandbox="process")
PROGRAMS = Programs()
Layer = tuple[int, list[tuple[int, int, int]]]
"""A disk's size, and what is written: start, length, byte."""
Script = Callable[..., tuple[int, str, str]]

LAYERS: list[list[Layer]] = [
    [
        (8 * MIB, [(512, 512, 7), (3 * MIB, 4096, 8)]),
        (8 * MIB, [(0, 2048, 5), (5 * MIB - 512, 1024, 6)]),
        (8 * MIB, [(0, 3 * MIB, 1), (7 * MIB, 512, 2)]),
    ],
    [
        (13 * MIB + 512, [(512, 512, 7), (9 * MIB, 700 * 512, 8), (13 * MIB, 512, 9)]),
        (8 * MIB, [(0, 2048, 5), (5 * MIB - 512, 1024, 6)]),
        (5 * MIB, [(0, 3 * MIB, 1)]),
    ],
    [
        (4 * MIB, [(1024, 512, 7)]),
        (8 * MIB, [(0, 2048, 5), (5 * MIB - 512, 1024, 6)]),
        (12 * MIB, [(0, 12 * MIB, 1)]),
    ],
    [(8 * MIB, [(7 * MIB, 512, 7)]), (4 * MIB, [(0, 2048, 5)]), (8 * MIB, [(0, 8 * MIB, 1)])],
    [(4 * MIB, [(0, 4 * MIB, 0), (512, 512, 3)]), (4 * MIB, [(0, 4 * MIB, 4)])],
]
"""Chains, the topmost disk first: of equal sizes, of growing ones, of shrinking ones, of both, of zeros."""


def reads(layers: list[Layer]) -> bytes:
    """What the topmost disk reads as: a disk hides what lies below it behind its own end."""
    content = b""
    for size, writes in reversed(layers):
        made = bytearray(content[:size].ljust(size, b"\0"))
        for start, length, value in writes:
            made[start : start + length] = bytes([value]) * length
        content = bytes(made)
    return content


def write(path: Path, start: int, data: bytes) -> None:
    own = path.with_name("pieces")
    own.write_bytes(data)
    descriptor = os.open(own, os.O_RDONLY)
    with Changing(str(path), INLINE, format="vpc") as image:
        image.update(lambda _: iter([Piece(start, len(data), False, descriptor, 0)]))
    os.close(descriptor)
    own.unlink()


def made(folder: Path, layers: list[Layer], subformat: str = "dynamic") -> list[str]:
    """The files of a chain, 0.vhd the topmost."""
    paths = [folder / f"{number}.vhd" for number in range(len(layers))]
    for path, (size, writes) in reversed(list(zip(paths, layers, strict=True))):
        options = {"force_size": "on"} | ({"subformat": subformat} if path == paths[-1] else {})
        below = None if path == paths[-1] else paths[paths.index(path) + 1].name
        create(
            str(path),
            format="vpc",
            size=size,
            options=options,
            backing=below,
            backing_format=below and "vpc",
            settings=INLINE,
        )
        for start, length, value in writes:
            write(path, start, bytes([value]) * length)
    return [str(path) for path in paths]


def content(path: str | Path) -> bytes:
    with disks.open(str(path), format="vpc", settings=INLINE) as disk:
        return disk.pread(disk.size, 0)


def by_qemu(path: str | Path) -> bytes:
    raw = f"{path}.raw"
    PROGRAMS.run(PROGRAMS.qemu(), "convert", "-f", "vpc", "-O", "raw", str(path), raw)
    return Path(raw).read_bytes()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Script:
    """Calls vhd-util in an empty folder: exit code, output, errors."""
    for name in list(os.environ):
        if name.startswith("INSTAR_") and name not in ("INSTAR_TEST_MASK", "INSTAR_QEMU_IMG", "INSTAR_QEMU_IO"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    (tmp_path / "vhds").mkdir()
    monkeypatch.chdir(tmp_path / "vhds")

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["vhd-util", *words])
        told = capfd.readouterr()
        return code, told.out, told.err

    return call


@pytest.mark.oracle
@pytest.mark.parametrize("layers", LAYERS, ids=["equal", "growing", "shrinking", "both", "zeros"])
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_the_base_of_a_coalesced_chain_reads_as_its_top_did(
    tmp_path: Path, layers: list[Layer], subformat: str
) -> None:
    chain = made(tmp_path, layers, subformat)
    before = [Path(path).read_bytes() for path in chain[:-1]]
    assert content(chain[0]) == reads(layers)
    assert vhd.coalesce_chain(vhd.discover_chain(str(tmp_path)), settings=INLINE) == chain[-1]
    assert by_qemu(chain[-1]) == reads(layers)
    assert content(chain[0]) == reads(layers)
    assert [Path(path).read_bytes() for path in chain[:-1]] == before


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(8))
def test_any_chain_is_coalesced_to_what_its_top_reads_as(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    layers: list[Layer] = []
    for _ in range(random.randint(2, 4)):
        sectors = random.choice((random.randint(1, 100), random.randint(4000, 20000), 8192, 16384))
        writes = []
        for _ in range(random.randint(0, 6)):
            start = random.randrange(sectors)
            length = min(sectors - start, random.choice((1, 2, 7, 8, 9, 100, 5000)))
            writes.append((start * SECTOR, length * SECTOR, random.randrange(4)))
        layers.append((sectors * SECTOR, writes))
    chain = made(tmp_path, layers)
    vhd.coalesce_chain(chain, settings=INLINE)
    assert by_qemu(chain[-1]) == reads(layers)
    assert content(chain[0]) == reads(layers)
    for path in chain:
        assert not check(path, format="vpc", settings=INLINE).findings


@pytest.mark.oracle
def test_vhd_util_puts_a_chain_together_as_cinder_calls_it(script: Script) -> None:
    layers = [(12 * MIB, LAYERS[1][0][1][:2]), *LAYERS[1][1:]]
    chain = made(Path(), layers)
    for number, (child, parent) in enumerate(pairwise(chain)):
        assert script("modify", "-n", child, "-p", parent) == (0, "", "")
        size = script("query", "-n", child, "-v")[1]
        assert size == "12\n"
        assert script("resize", "-n", parent, "-s", size.strip(), "-j", "journal") == (0, "", "")
        assert script("coalesce", "-n", child) == (0, "", "")
        assert content(chain[0]) == reads(layers), number
    assert not os.path.exists("journal")
    assert by_qemu(chain[-1]) == reads(layers)
    assert script("query", "-n", chain[-1], "-v", "-d", "-p") == (0, "12\n2.vhd has no parent\nchain depth: 1\n", "")


@pytest.mark.oracle
def test_what_is_less_than_a_mebibyte_is_not_lost(script: Script) -> None:
    """The size is told in MiB, rounded down: a parent that is resized to it is smaller than its child."""
    layers = [(5 * MIB + 512, [(5 * MIB, 512, 3)]), (5 * MIB + 512, [(5 * MIB - 512, 1024, 4)])]
    chain = made(Path(), layers)
    assert script("query", "-n", chain[0], "-v") == (0, "5\n", "")
    assert script("resize", "-n", chain[1], "-s", "5", "-j", "journal") == (0, "", "")
    assert script("coalesce", "-n", chain[0]) == (0, "", "")
    assert by_qemu(chain[1]) == reads(layers)


@pytest.mark.oracle
def test_libvhdi_sees_what_a_chain_says_of_its_parents(tmp_path: Path) -> None:
    program = shutil.which("vhdiinfo")
    if program is None:
        pytest.skip("vhdiinfo is not installed")
    chain = made(tmp_path, LAYERS[0])
    other = made(tmp_path, [(8 * MIB, [])])[0]  # 0.vhd anew: without a parent
    os.rename(other, tmp_path / "other.vhd")
    vhd.set_parent(chain[1], str(tmp_path / "other.vhd"), settings=INLINE)

    def said(path: str | Path, what: str) -> str:
        told = PROGRAMS.run(program, str(path)).stdout.decode()
        found = re.search(rf"^\s*{what}\s*: (.*)$", told, re.MULTILINE)
        assert found is not None, told
        return found[1]

    assert said(chain[1], "Parent filename") == "other.vhd"
    assert said(chain[1], "Parent identifier") == said(tmp_path / "other.vhd", "Identifier")


def test_a_new_parent_is_named_as_it_counts_from_the_childs_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    child, parent = made(tmp_path, LAYERS[4])
    os.rename(child, tmp_path / "sub" / "0.vhd")
    vhd.set_parent(str(tmp_path / "sub" / "0.vhd"), parent, settings=INLINE)
    assert content(tmp_path / "sub" / "0.vhd") == reads(LAYERS[4])
    os.rename(tmp_path, tmp_path.with_name("moved"))
    assert content(tmp_path.with_name("moved") / "sub" / "0.vhd") == reads(LAYERS[4])
    os.rename(tmp_path.with_name("moved"), tmp_path)


def test_nothing_is_opened_that_nobody_asked_for(tmp_path: Path) -> None:
    """A file names a parent that nobody may touch; who opens it waits for ever, for it is a FIFO."""
    chain = made(tmp_path, LAYERS[0])
    top = Path(chain[0]).read_bytes()
    os.unlink(chain[2])
    os.mkfifo(chain[2])
    assert vhd.virtual_size(chain[1], settings=JAILED) == 8 * MIB
    vhd.set_parent(chain[0], chain[1], settings=JAILED)
    assert vhd.parent(chain[1], settings=JAILED) == chain[2]
    vhd.coalesce(chain[0], settings=JAILED)
    vhd.resize(chain[1], 8 * MIB, settings=JAILED)
    assert vhd.coalesce_chain(chain[:2], settings=JAILED) == chain[1]
    Path(chain[0]).write_bytes(top)
    with pytest.raises(InstarError, match="FIFO"):
        vhd.depth(chain[0], settings=JAILED)


def test_a_sector_that_is_not_there_brings_nothing_from_below_with_it(tmp_path: Path) -> None:
    """The rest of a page of which a child has one sector stays what the parent's own parent has: it is not copied."""
    chain = made(tmp_path, [(4 * MIB, [(1024, 512, 7)]), (4 * MIB, []), (4 * MIB, [(0, 4 * MIB, 9)])])
    vhd.coalesce(chain[0], settings=INLINE)
    os.unlink(chain[2])
    create(chain[2], format="vpc", size=4 * MIB, options={"force_size": "on"}, settings=INLINE)
    vhd.set_parent(chain[1], chain[2], settings=INLINE)
    assert content(chain[1]) == bytes(1024) + bytes([7]) * 512 + bytes(4 * MIB - 1536)


def test_a_policy_that_forbids_backing_files_forbids_to_coalesce(tmp_path: Path) -> None:
    chain = made(tmp_path, LAYERS[4])
    before = Path(chain[1]).read_bytes()
    with pytest.raises(InstarError, match="allows no backing file"):
        vhd.coalesce(chain[0], settings=Settings(sandbox="inline", policy="strict"))
    with pytest.raises(InstarError, match="outside the allowed folders"):
        vhd.coalesce(chain[0], settings=Settings(sandbox="inline", roots=(str(tmp_path / "own"),)))
    assert Path(chain[1]).read_bytes() == before


def test_a_loop_is_refused(tmp_path: Path) -> None:
    chain = made(tmp_path, LAYERS[0])
    with pytest.raises(UsageError, match="its own parent"):
        vhd.set_parent(chain[0], chain[0], settings=INLINE)
    vhd.set_parent(chain[1], chain[0], settings=INLINE)
    with pytest.raises(InstarError, match="infinite loop"):
        vhd.depth(chain[0], settings=INLINE)
    os.unlink(chain[1])
    os.symlink("0.vhd", chain[1])
    with pytest.raises(InstarError, match="infinite loop"):
        vhd.coalesce(chain[0], settings=INLINE)
    with pytest.raises(InstarError, match="infinite loop"):
        vhd.coalesce_chain([chain[0], chain[0]], settings=INLINE)


def test_a_parent_that_a_child_was_not_made_for_is_not_written(tmp_path: Path) -> None:
    chain = made(tmp_path, LAYERS[4])
    os.unlink(chain[1])
    create(chain[1], format="vpc", size=4 * MIB, options={"force_size": "on"}, settings=INLINE)
    before = Path(chain[1]).read_bytes()
    for call in (lambda: vhd.coalesce(chain[0], settings=INLINE), lambda: vhd.coalesce_chain(chain, settings=INLINE)):
        with pytest.raises(FormatError, match="was made for a backing file with identifier"):
            call()
    assert Path(chain[1]).read_bytes() == before


def test_only_disks_with_a_parent_are_coalesced_or_get_another(tmp_path: Path) -> None:
    chain = made(tmp_path, [(4 * MIB, [])])
    with pytest.raises(FormatError, match="coalescing of non-differencing disks is not supported"):
        vhd.coalesce(chain[0], settings=INLINE)
    other = str(tmp_path / "other.vhd")
    shutil.copy(chain[0], other)
    with pytest.raises(FormatError, match="Only a differencing disk can have another parent"):
        vhd.set_parent(chain[0], other, settings=INLINE)
    assert vhd.coalesce_chain(chain, settings=INLINE) == chain[0]
    with pytest.raises(UsageError, match="no image"):
        vhd.coalesce_chain([], settings=INLINE)


def test_a_chain_is_found_up_to_the_first_number_that_is_missing(tmp_path: Path) -> None:
    assert vhd.discover_chain(str(tmp_path)) == []
    for name in ("0.vhd", "1.vhd", "3.vhd", "x.vhd"):
        (tmp_path / name).touch()
    assert vhd.discover_chain(str(tmp_path)) == [str(tmp_path / "0.vhd"), str(tmp_path / "1.vhd")]
    os.symlink("3.vhd", tmp_path / "2.vhd")
    with pytest.raises(FormatError, match="no regular file"):
        vhd.discover_chain(str(tmp_path))


# Growing with a journal.


@pytest.mark.oracle
def test_a_journal_is_there_while_the_disk_grows(tmp_path: Path) -> None:
    (path,) = made(tmp_path, [(4 * MIB, [(0, 4 * MIB, 1)])])
    journal = tmp_path / "journal"
    seen = []

    def look() -> bool:
        seen.append(journal.read_bytes())
        return False

    assert vhd.resize(path, 9 * MIB, journal=str(journal), settings=INLINE, cancelled=look) == 10 * MIB
    assert seen and all(b"from 4194304\nto 10485760\n" in text for text in seen)
    assert not journal.exists()
    assert by_qemu(path) == (bytes([1]) * 4 * MIB).ljust(10 * MIB, b"\0")


def test_a_journal_that_a_change_of_the_same_image_left_is_taken_over(tmp_path: Path) -> None:
    (path,) = made(tmp_path, [(4 * MIB, [])])
    journal = tmp_path / "journal"
    kept = tmp_path / "kept"
    vhd.resize(
        path,
        6 * MIB,
        journal=str(journal),
        settings=INLINE,
        cancelled=lambda: bool(shutil.copy(journal, kept)) and False,
    )
    shutil.copy(kept, journal)
    assert vhd.resize(path, 8 * MIB, journal=str(journal), settings=INLINE) == 8 * MIB
    assert not journal.exists()
    shutil.copy(kept, journal)
    assert vhd.resize(path, 8 * MIB, journal=str(journal), settings=INLINE) == 8 * MIB
    assert not journal.exists()
    os.link(path, tmp_path / "held")  # so that its inode is not given to another
    os.unlink(path)
    made(tmp_path, [(4 * MIB, [])])
    shutil.copy(kept, journal)
    with pytest.raises(DeviceError, match="not the journal of a change of this image") as caught:
        vhd.resize(path, 8 * MIB, journal=str(journal), settings=INLINE)
    assert caught.value.errno == errno.EEXIST and journal.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_journal_is_left_alone(tmp_path: Path, kind: str) -> None:
    (path,) = made(tmp_path, [(4 * MIB, [])])
    journal = tmp_path / "journal"
    if kind == "file":
        journal.write_text("mine")
    elif kind == "folder":
        journal.mkdir()
    else:
        journal.symlink_to("nowhere")
    with pytest.raises(DeviceError):
        vhd.resize(path, 8 * MIB, journal=str(journal), settings=INLINE)
    assert os.path.lexists(journal) and not (tmp_path / "nowhere").exists()
    assert vhd.virtual_size(path, settings=INLINE) == 4 * MIB


def test_a_parent_does_not_grow_over_a_larger_one(tmp_path: Path) -> None:
    chain = made(tmp_path, [(8 * MIB, [(0, 512, 1)]), (4 * MIB, []), (6 * MIB, [(0, 6 * MIB, 2)])])
    before = Path(chain[1]).read_bytes()
    with pytest.raises(FormatError, match="the parent may hold content where the differencing disk would grow"):
        vhd.coalesce(chain[0], settings=INLINE)
    assert Path(chain[1]).read_bytes() == before


def test_a_change_that_fails_leaves_no_journal(tmp_path: Path) -> None:
    chain = made(tmp_path, [(4 * MIB, []), (8 * MIB, [])])
    journal = tmp_path / "journal"
    with pytest.raises(FormatError, match="the parent may hold content"):
        vhd.resize(chain[0], 8 * MIB, journal=str(journal), settings=INLINE)
    with pytest.raises(UsageError, match="shrink"):
        vhd.resize(chain[1], 4 * MIB, journal=str(journal), settings=INLINE)
    assert not journal.exists()


# Archives.


def packed(archive: Path, *members: tuple[str, bytes | str | Path], format: int = tarfile.PAX_FORMAT) -> Path:
    """A tar.gz with these members: content, or the target of a symbolic link, or a file."""
    with tarfile.open(archive, "w:gz", format=format) as tar:
        for name, what in members:
            if isinstance(what, Path):
                tar.add(what, name)
                continue
            member = tarfile.TarInfo(name)
            member.mtime = 1700000000.25  # type: ignore[assignment]  # makes tarfile write a pax header
            if isinstance(what, str):
                member.type, member.linkname = tarfile.SYMTYPE, what
                tar.addfile(member)
            else:
                member.size = len(what)
                tar.addfile(member, io.BytesIO(what))
    return archive


@pytest.mark.oracle
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("layers", LAYERS[:2], ids=["equal", "growing"])
def test_an_archive_of_a_chain_becomes_its_topmost_disk(tmp_path: Path, layers: list[Layer], format: int) -> None:
    (tmp_path / "made").mkdir()
    chain = made(tmp_path / "made", layers)
    archive = packed(tmp_path / "image", *[(Path(path).name, Path(path)) for path in chain], format=format)
    archive.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(archive, 33, 34)
    before = archive.stat()
    vhd.replace_with_coalesced(str(archive), settings=JAILED)
    after = archive.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)
    assert by_qemu(archive) == reads(layers)
    assert sorted(os.listdir(tmp_path)) == ["image", "image.raw", "made"]


def test_tar_itself_makes_archives_that_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    contents = {"0.vhd": os.urandom(70000), "1.vhd": b"", "2.vhd": bytes(300000) + b"x"}
    for name, data in contents.items():
        (tmp_path / "made" / name).write_bytes(data)
    for words in (["-C", "made", "."], ["--format=gnu", "-C", "made", "0.vhd", "1.vhd", "2.vhd"]):
        into = tmp_path / f"into{len(words)}"
        into.mkdir()
        subprocess.run(["tar", "-czf", "archive", *words], cwd=tmp_path, check=True)
        found = vhd.unpack(str(tmp_path / "archive"), str(into), settings=JAILED)
        assert {Path(path).name: Path(path).read_bytes() for path in found} == contents


def test_zeros_of_an_archive_take_no_room(tmp_path: Path) -> None:
    size = 256 * MIB
    with tarfile.open(tmp_path / "archive", "w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("0.vhd")
        member.size = size
        with open("/dev/zero", "rb") as zeros:
            tar.addfile(member, zeros)
    (path,) = vhd.unpack(str(tmp_path / "archive"), str(tmp_path), settings=JAILED)
    facts = os.stat(path)
    assert facts.st_size == size and facts.st_blocks * 512 < MIB
    os.unlink(path)
    with pytest.raises(FormatError, match="unpacks to more than 1000 bytes") as caught:
        vhd.unpack(str(tmp_path / "archive"), str(tmp_path), most=1000, settings=JAILED)
    assert caught.value.kind == ErrorKind.LIMIT
    assert os.listdir(tmp_path) == ["archive"]


GOOD = ("0.vhd", b"x" * 1000)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("1.vhd", "/etc/passwd")], "'1.vhd', which is a link"),
        ([("1.vhd", "0.vhd")], "'1.vhd', which is a link"),
        ([("/1.vhd", b"")], "'/1.vhd', which is no part of a chain"),
        ([("../1.vhd", b"")], "'../1.vhd', which is no part of a chain"),
        ([("././1.vhd", b"")], "no part of a chain"),
        ([("a/1.vhd", b"")], "no part of a chain"),
        ([("01.vhd", b"")], "no part of a chain"),
        ([("\u0661.vhd", b"")], "no part of a chain"),
        ([("-1.vhd", b"")], "no part of a chain"),
        ([("1.vhd\n", b"")], "no part of a chain"),
        ([("x" * 300 + "/1.vhd", b"")], "no part of a chain"),
        ([("manifest.ovf", b"")], "'manifest.ovf', which is no part of a chain"),
        ([("0.vhd", b"y")], "holds 0.vhd twice"),
        ([("2.vhd", b"")], "has 2 images, but no 1.vhd"),
        ([("200.vhd", b"")], "longer than 200 images"),
    ],
)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_with_anything_but_a_chain_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes | str]], told: str, format: int
) -> None:
    archive = packed(tmp_path / "archive", GOOD, *members, format=format)
    (tmp_path / "into").mkdir()
    with pytest.raises(FormatError, match=re.escape(told)):
        vhd.unpack(str(archive), str(tmp_path / "into"), settings=INLINE)
    assert os.listdir(tmp_path / "into") == []


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S", b"V"])
def test_no_member_but_a_regular_file_is_made(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("0.vhd")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(FormatError, match=r"the archive holds '0\.vhd") as caught:
        vhd.unpack(str(archive), str(tmp_path), settings=INLINE)
    assert caught.value.kind == ErrorKind.REFUSED and os.listdir(tmp_path) == ["archive"]


def test_attributes_of_an_archive_cannot_smuggle_anything_in(tmp_path: Path) -> None:
    def archive(headers: dict[str, str], common: dict[str, str] | None = None) -> str:
        with tarfile.open(tmp_path / "archive", "w:gz", pax_headers=common or {}) as tar:
            member = tarfile.TarInfo("0.vhd")
            member.pax_headers, member.size = headers, 1000
            tar.addfile(member, io.BytesIO(b"x" * 1000))
        return str(tmp_path / "archive")

    for headers, common, told in (
        ({"path": "../0.vhd"}, None, "'../0.vhd'"),
        ({"GNU.sparse.major": "1"}, None, "sparse"),
        ({"size": "-5"}, None, "a size that is none"),
        ({"size": "9" * 25}, None, "a size that is none"),
        ({"size": str(1 << 60)}, None, "unpacks to more than"),
        ({"comment": "x" * 70000}, None, "header of the archive is too long"),
        ({}, {"path": "/etc/cron.d/x"}, "for all members"),
    ):
        with pytest.raises(FormatError, match=told):
            vhd.unpack(archive(headers, common), str(tmp_path), settings=INLINE)
        assert os.listdir(tmp_path) == ["archive"]
    vhd.unpack(archive({"comment": "x"}, {"comment": "y"}), str(tmp_path), settings=INLINE)


def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    good = packed(tmp_path / "good", ("0.vhd", os.urandom(100000))).read_bytes()
    plain = gzip.decompress(good)
    halves = gzip.compress(plain[:5000]) + gzip.compress(plain[5000:])
    into = tmp_path / "into"
    into.mkdir()
    for data in (b"", b"x" * 5000, plain, good[:50000], good[:60000] + bytes(100) + good[60100:], gzip.compress(b"")):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(FormatError, match="archive"):
            vhd.unpack(str(tmp_path / "bad"), str(into), settings=INLINE)
        assert os.listdir(into) == []
    for data in (halves, good + b"behind", good + bytes(1000)):
        (tmp_path / "bad").write_bytes(data)
        (path,) = vhd.unpack(str(tmp_path / "bad"), str(into), settings=INLINE)
        assert len(Path(path).read_bytes()) == 100000
        with pytest.raises(DeviceError, match="File exists"):
            vhd.unpack(str(tmp_path / "bad"), str(into), settings=INLINE)
        os.unlink(path)


def test_an_archive_that_cannot_be_coalesced_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    chain = made(tmp_path / "made", LAYERS[0])
    (tmp_path / "0.vhd").write_bytes(b"of somebody else")
    for members, told in (
        ([], "ends|holds no image"),
        ([("0.vhd", Path(chain[0])), ("1.vhd", Path(chain[1]))], "the child of another one"),
        ([("0.vhd", b"no image")], "File too small|invalid VPC image|footer"),
        ([("0.vhd", Path(chain[2])), ("1.vhd", Path(chain[2]))], "Only a differencing disk"),
    ):
        archive = packed(tmp_path / "image", *members)  # type: ignore[arg-type]
        before = archive.read_bytes()
        with pytest.raises(InstarError, match=told):
            vhd.replace_with_coalesced(str(archive), settings=INLINE)
        assert archive.read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == ["0.vhd", "image", "made"]


# The command.


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("", 0, ""),
        ("nothing", errno.EINVAL, "invalid COMMAND nothing"),
        ("check -n x", errno.ENOSYS, "the command 'check' is not supported"),
        ("query -v", errno.EINVAL, "-n NAME is missing"),
        ("query -n x -q", errno.EINVAL, "invalid option -- 'q'"),
        ("query -n absent -v", errno.ENOENT, "Could not open 'absent': No such file or directory"),
        ("query -n text -v", errno.EINVAL, "Could not open 'text': invalid VPC image"),
        ("resize -n 1.vhd -s 4", errno.EINVAL, "either -j JOURNAL or -f is needed"),
        ("resize -n 1.vhd -s x -f", errno.EINVAL, "Invalid size 'x'"),
        ("resize -n 1.vhd -s 2 -f", errno.EINVAL, "--shrink"),
        ("resize -n 1.vhd -s 9 -j text", errno.EEXIST, "File exists"),
        ("coalesce -n 1.vhd", errno.ENOSYS, "coalescing of non-differencing disks is not supported"),
        ("coalesce -n 0.vhd -o out", errno.EINVAL, "invalid option -- 'o'"),
        ("modify -n 0.vhd", errno.EINVAL, "-p PARENT is missing"),
        ("modify -n 0.vhd -p text", errno.EINVAL, "Could not open 'text'"),
        ("snapshot -n x", errno.EINVAL, "-p PARENT is missing"),
    ],
)
def test_vhd_util_says_what_is_wrong_in_a_line_and_by_its_exit_code(
    script: Script, words: str, code: int, told: str
) -> None:
    made(Path(), LAYERS[4])
    Path("text").write_text("x" * 1000)
    found, out, err = script(*words.split())
    assert found == code, err
    if code:
        assert told in err and out == "" and "Traceback" not in err
        assert len(err.splitlines()) <= 2
    else:
        assert "query" in out


def test_vhd_util_ends_quietly_where_nobody_reads_what_it_prints(script: Script, tmp_path: Path) -> None:
    assert script("create", "-n", str(tmp_path / "disk.vhd"), "-s", "2")[0] == 0
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", "import sys; from instar_core.cli.vhd_util import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [*words, "query", "-n", str(tmp_path / "disk.vhd"), "-v"],
        stdout=writer, stderr=subprocess.PIPE, env=environment, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_vhd_util_makes_disks_and_children(script: Script) -> None:
    assert script("create", "-n", "a.vhd", "-s", "6") == (0, "", "")
    assert script("create", "-n", "b.vhd", "-s", "5", "-r") == (0, "", "")
    assert script("snapshot", "-n", "c.vhd", "-p", "a.vhd", "--debug") == (0, "", "")
    told = script("query", "-vspfd", "-n", "c.vhd")
    assert told == (0, f"6\n{os.stat('c.vhd').st_size}\na.vhd\nhidden: 0\nchain depth: 2\n", "")
    assert script("resize", "-f", "-n", "b.vhd", "-s", "7") == (0, "", "")
    assert script("query", "-n", "b.vhd", "-v") == (0, "7\n", "")
    assert script("coalesce", "-p", "-n", "c.vhd")[::2] == (0, "")
    assert "vhd-util query -n NAME" in script("query", "-h")[1]


def test_vhd_util_starts_light() -> None:
    code = "import sys; from instar_core.cli import vhd_util; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    heavy = {"re", "typing", "argparse", "json", "tarfile", "tempfile", "subprocess", "inspect", "dataclasses"}
    assert not heavy & set(done.stdout.split())
