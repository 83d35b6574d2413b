"""Images whose grain directories, tables or headers are damaged, mended from their other copies."""

from __future__ import annotations

import os
import random
import struct

import pytest

from instar_core import disk as disks
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.operations.check import check
from instar_core.operations.repair import repair
from instar_core.settings import Settings
from instar_core.types import Severity

MIB, GIB = 1 << 20, 1 << 30
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)
SIZE = 80 * MIB
WRITES = ("write -P 1 0 300k", "write -P 2 1M 1M", "write -P 3 40M 64k", "write -P 4 79M 1M")


def content(path):
    with disks.open(str(path), format="vmdk", settings=INLINE) as disk:
        return disk.pread(disk.size, 0)


def findings(path):
    return check(str(path), format="vmdk", settings=INLINE).findings


def mend(path, mode="all"):
    return repair(str(path), mode, format="vmdk", settings=INLINE)


def put(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def header(path):
    """Sectors of the redundant and of the other grain directory."""
    return struct.unpack_from("<QQ", path.read_bytes()[:512], 48)


@pytest.fixture
def image(programs, tmp_path):
    """An image of three grain tables."""
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", path, str(SIZE))
    programs.io(path, *WRITES)
    assert header(path) == (21, 34)
    return path


def table(path, which, number):
    """Where a table lies by the redundant (0) or the other (1) directory."""
    place = header(path)[which] * 512
    (entry,) = struct.unpack_from("<I", path.read_bytes(), place + 4 * number)
    return entry * 512


def entry(path, which, grain, sector):
    put(path, table(path, which, grain // 512) + grain % 512 * 4, struct.pack("<I", sector))


def directory(path, which, number, sector):
    put(path, header(path)[which] * 512 + 4 * number, struct.pack("<I", sector))


DAMAGES = {
    "a grain past the end": lambda path: entry(path, 1, 2, 0x7FFFFFFF),
    "a grain in the metadata": lambda path: entry(path, 1, 2, 3),
    "a grain on another": lambda path: entry(path, 1, 2, 256),
    "a grain that is not aligned": lambda path: entry(path, 1, 2, 300),
    "a grain that is gone": lambda path: entry(path, 1, 2, 0),
    "a table of zeros": lambda path: put(path, table(path, 1, 0), bytes(2048)),
    "a table of noise": lambda path: put(path, table(path, 1, 0), random.Random(1).randbytes(2048)),
    "a table past the end": lambda path: directory(path, 1, 0, 1 << 30),
    "a table that is gone": lambda path: directory(path, 1, 0, 0),
    "a table in the content": lambda path: directory(path, 1, 0, 128 * 3),
    "a table in the header": lambda path: directory(path, 1, 0, 0) or directory(path, 1, 0, 1),
    "another's table": lambda path: directory(path, 1, 1, table(path, 1, 0) // 512),
    "a directory of zeros": lambda path: put(path, header(path)[1] * 512, bytes(512)),
    "a directory of noise": lambda path: put(path, header(path)[1] * 512, random.Random(2).randbytes(512)),
    "a directory past the end": lambda path: put(path, 56, struct.pack("<Q", 1 << 30)),
    "no directory": lambda path: put(path, 56, bytes(8)),
    "a redundant grain past the end": lambda path: entry(path, 0, 2, 0x7FFFFFFF),
    "a redundant grain that is gone": lambda path: entry(path, 0, 2, 0),
    "a redundant table of noise": lambda path: put(path, table(path, 0, 0), random.Random(3).randbytes(2048)),
    "a redundant table past the end": lambda path: directory(path, 0, 0, 1 << 30),
    "a redundant directory of zeros": lambda path: put(path, header(path)[0] * 512, bytes(512)),
    "a redundant directory past the end": lambda path: put(path, 48, struct.pack("<Q", 1 << 30)),
    "an unclean end": lambda path: put(path, 72, b"\1"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_one_copy_has_lost_is_mended_from_the_other(image, damage, programs):
    before = content(image)
    DAMAGES[damage](image)
    try:
        assert any(finding.repairable for finding in findings(image))
    except FormatError as error:  # qemu-img's own check ends so
        assert error.message == "Check failed: Invalid argument"
    report = mend(image)
    assert not report.corruptions
    assert not findings(image)
    assert content(image) == before == programs.content(image)
    assert programs.img("check", "-f", "vmdk", image).returncode == 0
    programs.io(image, "write -P 9 20M 1M", "write -P 8 64k 64k", "read -P 9 20M 1M", "read -P 1 0 64k")
    assert not findings(image)


@pytest.mark.oracle
@pytest.mark.parametrize("damage", DAMAGES)
def test_leaks_alone_leave_damage_as_it_is(image, damage):
    DAMAGES[damage](image)
    damaged = image.read_bytes()
    try:
        mend(image, "leaks")
    except FormatError as error:
        assert error.message == "Check failed: Invalid argument"
    assert image.read_bytes() == damaged


@pytest.mark.oracle
def test_grains_that_are_mended_are_counted(image):
    for grain in (1, 2, 20):
        entry(image, 1, grain, 0x7FFFFFFF)
    assert mend(image).corruptions_fixed == 3


@pytest.mark.oracle
def test_where_both_copies_are_damaged_nothing_is_touched(image):
    for which in (0, 1):
        entry(image, which, 2, 0x7FFFFFFF)
    entry(image, 0, 3, 0)
    damaged = image.read_bytes()
    with pytest.raises(FormatError, match="Invalid argument"):
        mend(image)
    assert image.read_bytes() == damaged


@pytest.mark.oracle
def test_both_directories_past_the_end_are_beyond_mending(image):
    put(image, 48, struct.pack("<QQ", 1 << 30, 1 << 30))
    damaged = image.read_bytes()
    assert mend(image).corruptions == 1
    assert image.read_bytes() == damaged


@pytest.mark.oracle
def test_an_empty_redundant_directory_is_no_reason_to_empty_the_image(image):
    before = content(image)
    for number in range(3):
        put(image, table(image, 0, number), bytes(2048))
    assert [finding.repairable for finding in findings(image)] == [True] * 3
    put(image, header(image)[0] * 512, bytes(512))
    mend(image)
    assert content(image) == before
    assert not findings(image)


@pytest.mark.oracle
def test_a_lost_directory_is_not_replaced_by_an_empty_one(image):
    put(image, 56, struct.pack("<Q", 1 << 30))
    put(image, header(image)[0] * 512, bytes(512))
    damaged = image.read_bytes()
    assert mend(image).corruptions == 1
    assert image.read_bytes() == damaged


@pytest.mark.oracle
def test_zeros_that_are_marked_are_mended_as_such(programs, tmp_path):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", "zeroed_grain=on", path, str(SIZE))
    programs.io(path, *WRITES, "write -z 1M 1M")
    before = content(path)
    entry(path, 1, 16, 0)
    entry(path, 0, 17, 0)
    assert len(findings(path)) == 1
    mend(path)
    assert not findings(path)
    assert content(path) == before == programs.content(path)
    assert struct.unpack_from("<2I", path.read_bytes(), table(path, 1, 0) + 64) == (1, 1)


@pytest.mark.oracle
def test_every_file_of_a_divided_image_is_mended(programs, tmp_path):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", path, "5G")
    programs.io(path, "write -P 1 1G 1M", "write -P 2 3G 1M", "write -P 3 4500M 1M")

    def parts():
        with disks.open(str(path), format="vmdk", settings=INLINE) as disk:
            return [disk.pread(MIB, place) for place in (GIB, 3 * GIB, 4500 * MIB)]

    before = parts()
    for number in (1, 2, 3):
        part = tmp_path / f"disk-s00{number}.vmdk"
        put(part, header(part)[1] * 512, bytes(512))
    assert parts() == [bytes(MIB)] * 3
    mend(path)
    assert parts() == before
    assert not findings(path)
    programs.io(path, "read -P 1 1G 1M", "read -P 2 3G 1M", "read -P 3 4500M 1M")


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["monolithicSparse", "twoGbMaxExtentSparse"])
def test_space_behind_the_last_grain_goes(kind, programs, tmp_path):
    path = tmp_path / "disk.vmdk"
    programs.img("create", "-q", "-f", "vmdk", "-o", f"subformat={kind}", path, str(SIZE))
    programs.io(path, *WRITES)
    file = path if kind == "monolithicSparse" else tmp_path / "disk-s001.vmdk"
    size = file.stat().st_size
    for more, told in ((511, 0), (65536 - 1, 0), (65536, 1), (3 * MIB, 1)):
        os.truncate(file, size + more)
        found = findings(path)
        assert [(finding.severity, finding.repairable) for finding in found] == [(Severity.NOTE, True)] * told
        assert programs.img("check", "-f", "vmdk", path).returncode == 0
    before = content(path)
    mend(path, "leaks")
    assert file.stat().st_size == size
    assert content(path) == before
    assert not findings(path)


@pytest.mark.oracle
def test_space_that_only_a_redundant_table_knows_stays(image):
    size = image.stat().st_size
    os.truncate(image, size + 65536)
    entry(image, 0, 100, size // 512)
    mend(image, "leaks")
    assert image.stat().st_size == size + 65536


@pytest.fixture
def stream(host, tmp_path):
    path = tmp_path / "disk.vmdk"
    data = random.Random(1).randbytes(200_000) + bytes(800_000) + b"x" * 48_576
    host.create(path, len(data), data, subformat="streamOptimized")
    return path


@pytest.mark.oracle
def test_a_header_is_mended_from_the_footer(stream):
    before, sound = content(stream), stream.read_bytes()
    assert struct.unpack_from("<Q", sound, 56) == ((1 << 64) - 1,)
    for offset, data in ((12, b"\xff"), (56, struct.pack("<Q", 1 << 40)), (72, b"\1"), (44, b"\0")):
        put(stream, offset, data)
        assert all(finding.repairable for finding in findings(stream))
        mend(stream)
        assert not findings(stream)
        assert content(stream) == before
        assert stream.read_bytes() == sound


@pytest.mark.oracle
def test_called_qemu_img_there_is_no_repair(image, programs):
    """quirk("vmdk-repair")"""
    DAMAGES["a directory of zeros"](image)
    theirs = programs.img("check", "-r", "all", "-f", "vmdk", image, check=False)
    assert theirs.returncode == 63
    with pytest.raises(InstarError) as caught:
        repair(str(image), "all", format="vmdk", settings=INLINE._replace(qemu=True))
    assert caught.value.kind == ErrorKind.UNSUPPORTED
    assert mend(image).corruptions == 0
    assert not findings(image)


@pytest.mark.oracle
def test_images_of_qemu_img_have_nothing_to_mend(programs, tmp_path):
    kinds = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
    raw = tmp_path / "raw"
    raw.write_bytes(random.Random(1).randbytes(200_000) + bytes(3 * MIB) + b"x" * 48_576)
    for kind in kinds:
        for zeroed in ("on", "off") if "Flat" not in kind else ("off",):
            for compat in ("on", "off"):
                path = tmp_path / f"{kind}-{zeroed}-{compat}.vmdk"
                options = f"subformat={kind},zeroed_grain={zeroed},compat6={compat}"
                programs.img("convert", "-O", "vmdk", "-o", options, raw, path)
                assert not findings(path)
                if kind != "streamOptimized":
                    programs.io(path, "write -P 1 1M 100k", "write -z 0 64k", "discard 128k 128k", "write -z 2M 64k")
                    assert not findings(path)


GRAIN = 65536


def damaged(image, chance, most):
    """Some entries are something else, in directories or tables: of every table those of one copy."""
    which = [chance.randrange(2) for _ in range(3)]
    starts = [place * 512 for place in header(image)]
    for _ in range(chance.randint(1, most)):
        number = chance.randrange(3)
        at = chance.choice((number, 128 + number * 512 + chance.randrange(512))) * 4
        value = chance.choice((0, 3, 255, 256, 300, 384, 1 << 30, 0xFFFFFFFF, chance.randrange(1 << 13)))
        put(image, starts[which[number]] + at, struct.pack("<I", value))


def chances(image):
    """Copies of the image, each with what chooses its damage; INSTAR_VMDK_SEED chooses all."""
    seed, sound = os.environ.get("INSTAR_VMDK_SEED", "20261121"), image.read_bytes()
    for number in range(20):
        image.write_bytes(sound)
        yield f"INSTAR_VMDK_SEED={seed}, {number}", random.Random(f"{seed}/{number}")


@pytest.mark.oracle
def test_any_entry_of_one_copy_is_mended(image):
    before = content(image)
    for told, chance in chances(image):
        damaged(image, chance, 1)
        report = mend(image)
        assert not report.corruptions, told
        assert not findings(image), told
        assert content(image) == before, told


@pytest.mark.oracle
def test_no_mending_makes_anything_worse(image):
    before = content(image)
    for told, chance in chances(image):
        damaged(image, chance, 8)
        now = content(image)
        try:
            mend(image)
        except FormatError as error:
            assert error.message == "Check failed: Invalid argument", told
        after = content(image)
        for at in range(0, SIZE, GRAIN):
            one, other = after[at : at + GRAIN], now[at : at + GRAIN]
            assert one == other or one == before[at : at + GRAIN], f"{told}, at {at}"
