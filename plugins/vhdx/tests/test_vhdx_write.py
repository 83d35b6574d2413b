"""Images written here, judged by the readers of others."""

from __future__ import annotations

import os
import random
import uuid

import pytest
from instar_vhdx import SPEC, hooks

from instar_core.errors import FormatError
from instar_core.types import Amend, Create, Geometry, Kind, Put, Run

MIB = 1 << 20
SIZE = 21 * MIB + 1024 * 33
"""7-Zip wants an even number of sectors of 512 bytes, of qemu-img's images too."""
PARENT = "83ed0ec3-24c8-49a6-a959-5e4bd1288015"


def scattered(seed, size=SIZE):
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(7):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([1, 512, 65536, 300000, 5 * MIB]))
        made[at : at + length] = choose.randbytes(length) if choose.random() < 0.6 else b"\xa5" * length
    return bytes(made)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block_size": MIB},
        {"block_size": 256 * MIB},
        {"subformat": "dynamic", "block_state_zero": False},
        {"subformat": "fixed"},
        {"subformat": "fixed", "block_size": 2 * MIB, "block_state_zero": False},
        {"log_size": 3 * MIB, "block_state_zero": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_every_option_reads_back_for_qemu_7_zip_and_here(options, seed, tmp_path, host, programs, agree):
    path = tmp_path / "disk.vhdx"
    host.create(path, SIZE, scattered(seed), chunk=(65536, MIB, 16 * MIB)[seed], **options)
    programs.img("check", "-f", "vhdx", path)
    assert agree(path) == scattered(seed)
    with host.Opened(path) as opened:
        assert len(opened.findings()) == 1
    assert programs.run(programs.find("7z"), "x", "-so", path).stdout == scattered(seed)


@pytest.mark.parametrize("options", [{"block_size": MIB}, {"subformat": "fixed"}], ids=str)
def test_libvhdi_and_dissect_read_what_was_written(options, tmp_path, host):
    path = tmp_path / "disk.vhdx"
    host.create(path, SIZE, scattered(9), **options)
    read = 0
    try:
        import pyvhdi

        image = pyvhdi.file()
        image.open(str(path))
        assert image.read(SIZE) == scattered(9)
        image.close()
        read += 1
    except ImportError:
        pass
    try:
        from dissect.hypervisor.disk.vhdx import VHDX

        with path.open("rb") as file:
            assert VHDX(file).read(SIZE) == scattered(9)
        read += 1
    except ImportError:
        pass
    if not read:
        pytest.skip("neither libvhdi's Python module nor dissect.hypervisor is installed")


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{}, {"subformat": "fixed"}, {"block_size": MIB}], ids=str)
@pytest.mark.parametrize("size", (512, 65536, MIB, MIB + 512, 8 * MIB, (33 << 20) + 512))
def test_any_size_can_be_full_and_can_be_empty(options, size, tmp_path, host, programs, agree):
    content = random.Random(size).randbytes(size)
    host.create(tmp_path / "full.vhdx", size, content, **options)
    assert agree(tmp_path / "full.vhdx") == content
    host.create(tmp_path / "empty.vhdx", size, **options)
    programs.img("check", "-f", "vhdx", tmp_path / "empty.vhdx")
    assert agree(tmp_path / "empty.vhdx") == bytes(size)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "size, options",
    [
        (1 << 30, ""),
        ((1 << 30) + MIB, ""),
        (100 << 30, ""),
        ((100 << 30) + 512, ""),
        (32 << 40, ""),
        ((32 << 40) + 512, ""),
        (64 << 40, ""),
        (4 * MIB, "block_size=524288"),
        (40 * MIB, "block_size=1536000"),
        (4 * MIB, "block_size=5368709120"),
        (4 * MIB, "log_size=1"),
        (4 * MIB, "log_size=1500000"),
        (4 * MIB, "block_state_zero=off"),
        (9 << 40, "block_size=1048576,block_state_zero=off"),
        (513, ""),
    ],
)
def test_an_empty_image_is_what_qemu_img_makes(size, options, tmp_path, host, programs):
    """Everything but GUIDs, sequence numbers, creator, and the sums over them."""
    ours, theirs = tmp_path / "ours.vhdx", tmp_path / "theirs.vhdx"
    given = {}
    for part in filter(None, options.split(",")):
        key, value = part.split("=")
        given[key] = value == "on" if key == "block_state_zero" else int(value)
    host.create(ours, size, **given)
    programs.img("create", "-q", "-f", "vhdx", *(("-o", options) if options else ()), theirs, size)
    with ours.open("rb") as one, theirs.open("rb") as other:
        assert os.fstat(one.fileno()).st_size == os.fstat(other.fileno()).st_size
        place = 0
        while mine := one.read(4 * MIB):
            yours = other.read(4 * MIB)
            if not place:
                mine, yours = blanked(mine), blanked(yours)
            if mine != yours:  # the one difference: which virtual disk it is
                at = next(number for number in range(len(mine)) if mine[number] != yours[number])
                assert (place + at) % MIB >= 65536 + 16 and (place + at) % MIB < 65536 + 32
                assert mine[:at] == yours[:at]
                assert mine[at // 16 * 16 + 16 :] == yours[at // 16 * 16 + 16 :]
            place += len(mine)


def blanked(data):
    """The regions' Required bits are blanked too: qemu-img leaves them out, against the specification."""
    made = bytearray(data)
    for place in (196608, 262144):
        made[place + 4 : place + 8] = made[place + 44 : place + 48] = made[place + 76 : place + 80] = bytes(4)
    made[8:520] = bytes(512)
    for place in (65536, 131072):
        made[place + 4 : place + 48] = bytes(44)
    return bytes(made)


@pytest.mark.parametrize(
    "size, options, message",
    [
        ((64 << 40) + 1, {}, "Image size too large; max of 64TB"),
        (MIB, {"subformat": "foo"}, "Parameter 'subformat' does not accept value 'foo'"),
        (MIB, {"block_size": 3 * MIB}, "Block size must be a power of two"),
        (MIB, {"log_size": 1 << 32}, "Log size must be smaller than 4 GB"),
        (MIB, {"log_size": (1 << 32) - 1}, "Log size must be smaller than 4 GB"),
        (MIB, {"backing": {"name": b"x", "format": "raw", "size": 1}}, "backing_file must be a vhdx image"),
        (MIB, {"backing": {"name": b"x", "format": "vhdx", "size": 1}}, "stores its identifier"),
        (MIB, {"backing": {"name": b"x\xff", "format": "vhdx", "identity": PARENT}}, "no UTF-8"),
        (MIB, {"backing": {"name": b"a\\b", "format": "vhdx", "identity": PARENT}}, "cannot be stored"),
        (
            MIB,
            {"backing": {"name": b"x", "format": "vhdx", "identity": PARENT}, "subformat": "fixed"},
            "A fixed image can't have a backing file",
        ),
        (
            MIB,
            {"backing": {"name": b"x", "format": "vhdx", "identity": PARENT}, "block_size": 128 * MIB},
            "must not be larger than 64 MB",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_written(size, options, message, tmp_path, host):
    path = tmp_path / "disk.vhdx"
    with pytest.raises(FormatError, match=message):
        host.create(path, size, **options)
    assert path.stat().st_size == 0


@pytest.mark.oracle
@pytest.mark.parametrize(
    "size, option", [("65T", "log_size=1M"), ("1M", "subformat=foo"), ("1M", "block_size=3M"), ("1M", "log_size=4G")]
)
def test_refusals_are_qemu_imgs(size, option, tmp_path, programs):
    said = programs.img("create", "-f", "vhdx", "-o", option, tmp_path / "x.vhdx", size, check=False).stderr.decode()
    key, value = option.split("=")
    number = {"1M": MIB, "3M": 3 * MIB, "4G": 1 << 32}.get(value, value)
    values = {each.name: None for each in SPEC.options} | {key: number}
    wanted = {"65T": 65 << 40, "1M": MIB}[size]
    with pytest.raises(FormatError) as found:
        list(hooks.instar_write(None, Create(wanted, values), iter(())))
    assert said.strip().endswith(f": {found.value.message}")


@pytest.mark.parametrize("block", (MIB, 2 * MIB, 0))
@pytest.mark.parametrize("seed", range(3))
def test_a_differencing_image_hides_its_parent_where_it_was_written(block, seed, tmp_path, host):
    """Judged by what was put in, and by dissect.hypervisor where it is installed."""
    size = 20 * MIB + 1024
    unit = block or 2 * MIB
    parent = random.Random(seed).randbytes(size)
    host.create(tmp_path / "base.vhdx", size, parent)
    with host.Opened(tmp_path / "base.vhdx") as below:
        identity = below.info.extra["identity"]
    choose = random.Random(seed)
    new, kept = bytearray(parent), []
    for at in range(0, size, unit):
        length = min(unit, size - at)
        what = choose.choice(("kept", "zero", "data"))
        if what == "kept":
            kept.append((at, at + length))
        else:
            new[at : at + length] = bytes(length) if what == "zero" else choose.randbytes(length)
    path = tmp_path / "child.vhdx"
    backing = {"name": b"base.vhdx", "format": "vhdx", "size": size, "identity": identity}
    host.create(path, size, bytes(new), skip=kept, chunk=8 * MIB, block_size=block, backing=backing)
    with host.Opened(path) as opened:
        assert opened.info.cluster_size == unit
        assert opened.parent() == "base.vhdx"
        assert opened.info.references[0].details["identity"] == identity
        assert opened.content(parent=parent) == new
        absent = [(one.start, one.length) for one in opened.extents() if one.kind == Kind.ABSENT]
        assert sum(length for _, length in absent) == sum(high - low for low, high in kept)
        assert len(opened.findings()) == 1
    vhdx = pytest.importorskip("dissect.hypervisor.disk.vhdx", reason="dissect.hypervisor is not installed")
    other = vhdx.VHDX(path)
    with other.fh, other.parent.fh:
        assert other.read(size) == new


def test_libvhdi_names_image_and_parent_by_the_same_identifiers(tmp_path, host, programs):
    program = programs.find("vhdiinfo")
    host.create(tmp_path / "base.vhdx", MIB)
    with host.Opened(tmp_path / "base.vhdx") as opened:
        identity = opened.info.extra["identity"]
    backing = {"name": b"base.vhdx", "format": "vhdx", "size": MIB, "identity": identity}
    host.create(tmp_path / "child.vhdx", MIB, backing=backing)
    said = programs.run(program, tmp_path / "child.vhdx").stdout.decode()
    lines = dict(line.strip().split("\t", 1) for line in said.splitlines() if "\t" in line.strip())
    found = {key: value.strip(": \t") for key, value in lines.items()}
    with host.Opened(tmp_path / "child.vhdx") as opened:
        assert found["Identifier"] == opened.info.extra["identity"]
    assert found["Parent identifier"] == identity
    assert found["Disk type"] == "Differential"


def test_nothing_is_an_image_before_the_last_barrier(tmp_path, host):
    path = tmp_path / "disk.vhdx"
    host.create(path, SIZE, scattered(1), stop=True)
    with pytest.raises(FormatError, match="Image not in VHDX format"):
        host.Opened(path)


def test_two_images_share_no_guid(tmp_path, host):
    seen = set()
    for number in range(2):
        path = tmp_path / f"{number}.vhdx"
        host.create(path, MIB)
        data = path.read_bytes()
        made = {data[65552:65568], data[65568:65584], data[0x310010:0x310020]}
        assert len(made) == 3 and not made & seen
        assert all(uuid.UUID(bytes_le=each).version == 4 for each in made)
        seen |= made


def test_the_table_of_a_huge_image_is_put_in_small_pieces():
    values = {option.name: None for option in SPEC.options} | {"block_size": MIB}
    runs = iter([Run(5 << 40, 3 * MIB)])
    edits = hooks.instar_write(None, Create(16 << 40, values, entropy=bytes(range(64))), runs)
    assert isinstance(next(edits), Geometry)
    largest = total = 0
    for edit in edits:
        if isinstance(edit, Put):
            largest, total = max(largest, len(edit.data)), total + len(edit.data)
    assert largest <= 4 * MIB
    assert total > 128 * MIB


def test_a_change_that_vhdx_does_not_have_is_refused(tmp_path, host):
    host.create(tmp_path / "disk.vhdx", MIB)
    with host.Opened(tmp_path / "disk.vhdx") as opened, pytest.raises(FormatError, match="has no such change"):
        list(hooks.instar_write(opened.image(), Amend({}), iter(())))
