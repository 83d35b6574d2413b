"""Images written here, judged by the readers of others."""

from __future__ import annotations

import random
import re

import pytest
from instar_vmdk import SPEC, hooks
from instar_vmdk.layout import HOSTED, HostedHeader
from instar_vmdk.names import extent_name

from instar_core.errors import ContractViolation, FormatError
from instar_core.types import Create, Kind, Put, Run, SnapshotEdit

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
SIZE = 5 * (1 << 20) + 512 * 33


def scattered(seed, size=SIZE):
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(7):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([1, 512, 65536, 300000, 1 << 20]))
        made[at : at + length] = choose.randbytes(length) if choose.random() < 0.6 else b"\xa5" * length
    return bytes(made)


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", SUBFORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_every_subformat_reads_back_for_qemu_and_here(subformat, seed, tmp_path, host, programs, agree):
    path = tmp_path / "disk.vmdk"
    chunk = (65536, 1 << 20, 16 << 20)[seed]
    host.create(path, SIZE, scattered(seed), chunk=chunk, subformat=subformat)
    programs.img("check", "-f", "vmdk", path)
    assert agree(path) == scattered(seed)
    with host.Opened(path) as opened:
        assert len(opened.findings()) == 1


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", SUBFORMATS)
@pytest.mark.parametrize("size", (512, 65536, 65536 + 512, (32 << 20) + 512))
def test_any_size_can_be_full_and_can_be_empty(subformat, size, tmp_path, host, agree):
    content = random.Random(size).randbytes(size)
    host.create(tmp_path / "full.vmdk", size, content, subformat=subformat)
    assert agree(tmp_path / "full.vmdk") == content
    host.create(tmp_path / "empty.vmdk", size, subformat=subformat)
    assert agree(tmp_path / "empty.vmdk") == bytes(size)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adapter_type": "lsilogic"},
        {"adapter_type": "buslogic", "compat6": True},
        {"adapter_type": "legacyESX", "hwversion": "11"},
        {"adapter_type": "ide", "toolsversion": "2147483646"},
        {"zeroed_grain": True},
        {"subformat": "monolithicFlat", "compat6": True},
        {"subformat": "twoGbMaxExtentFlat", "toolsversion": "5"},
        {"subformat": "twoGbMaxExtentSparse", "zeroed_grain": True},
        {"subformat": "streamOptimized", "hwversion": "10"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", (SIZE, (4 << 30) + (10 << 20)), ids=("small", "large"))
def test_header_and_descriptor_are_what_qemu_img_writes(options, size, tmp_path, host, programs):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    ours.mkdir()
    theirs.mkdir()
    host.create(ours / "disk.vmdk", size, **options)
    given = ",".join(f"{key}={'on' if value is True else value}" for key, value in options.items())
    programs.img("create", "-q", "-f", "vmdk", *(("-o", given) if given else ()), theirs / "disk.vmdk", size)
    assert sorted(file.name for file in ours.iterdir()) == sorted(file.name for file in theirs.iterdir())
    stream = options.get("subformat") == "streamOptimized"
    for file in sorted(ours.iterdir()):
        other = theirs / file.name
        if file.name.endswith("-flat.vmdk") or "-f0" in file.name:
            assert file.stat().st_size == other.stat().st_size
            continue
        one, two = (parts(each.read_bytes()) for each in (file, other))
        assert one[1] == two[1]
        if not stream:
            assert one == two


def parts(data):
    """The header, the descriptor with a fixed CID, and what follows them."""
    head = 512 if data.startswith(b"KDMV") else 0
    end = 21 * 512 if head else len(data)
    text = re.sub(rb"\nCID=[0-9a-f]{1,8}\n", b"\nCID=x\n", data[head:end])
    return data[:head], text.rstrip(b"\0"), data[end:]


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", ("monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized"))
@pytest.mark.parametrize("zeroed", (False, True))
def test_zeros_over_a_parent_are_written(subformat, zeroed, tmp_path, host, programs):
    size = 10 * 65536 + 512
    parent = random.Random(2).randbytes(size)
    (tmp_path / "base.raw").write_bytes(parent)
    programs.img("convert", "-f", "raw", "-O", "vmdk", tmp_path / "base.raw", tmp_path / "base.vmdk")
    with host.Opened(tmp_path / "base.vmdk") as opened:
        cid = opened.info.details["cid"]
    new = bytearray(parent)
    new[65536 : 3 * 65536] = bytes(2 * 65536)
    new[5 * 65536 : 6 * 65536] = b"x" * 65536
    new[10 * 65536 :] = bytes(512)
    path = tmp_path / "disk.vmdk"
    host.create(
        path,
        size,
        bytes(new),
        skip=[(0, 65536), (3 * 65536, 5 * 65536), (6 * 65536, 10 * 65536)],
        subformat=subformat,
        zeroed_grain=zeroed,
        backing={"name": b"base.vmdk", "format": "vmdk", "size": size, "details": {"cid": cid}},
    )
    assert programs.content(path) == bytes(new)
    assert programs.answer("info", path)["backing-filename"] == "base.vmdk"
    with host.Opened(path) as opened:
        assert opened.content(parent=parent) == bytes(new)
        assert opened.info.details["parent-cid"] == cid
        kinds = {extent.kind for extent in opened.extents()}
        assert (Kind.ZERO in kinds) == zeroed


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_seven_zip_and_libvmdk_read_it(subformat, tmp_path, host, programs):
    path = tmp_path / "disk.vmdk"
    content = bytearray(scattered(4, 6 << 20))
    content[510:512] = b"\x55\xaa"
    host.create(path, len(content), bytes(content), subformat=subformat)
    said = programs.run(programs.find("vmdkinfo"), path).stdout.decode()
    assert f"({len(content)} bytes)" in said
    assert programs.run(programs.find("7z"), "x", "-so", path).stdout == bytes(content)


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_before_the_last_barrier_there_is_no_image(subformat, tmp_path, host):
    path = tmp_path / "disk.vmdk"
    done = host.create(path, SIZE, scattered(1), subformat=subformat, stop_before="commit")
    assert done.barriers == 1
    with pytest.raises(FormatError):
        host.Opened(path)


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_what_commits_is_one_put_at_the_start_of_the_image(subformat, tmp_path, host):
    done = host.create(tmp_path / "disk.vmdk", SIZE, scattered(1), subformat=subformat)
    (edit,) = done.after_barrier
    assert isinstance(edit, Put)
    assert (edit.offset, edit.device) == (0, 0)


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_an_older_and_longer_file_leaves_no_trace(subformat, tmp_path, host):
    path = tmp_path / "disk.vmdk"
    for name in ("disk.vmdk", "disk-flat.vmdk", "disk-s001.vmdk", "disk-f001.vmdk"):
        (tmp_path / name).write_bytes(b"\xff" * (12 << 20))
    host.create(path, SIZE, scattered(1), subformat=subformat)
    with host.Opened(path) as opened:
        assert opened.content() == scattered(1)


def meta(size, runs, **options):
    """The edits for these runs, without any file."""
    values = {option.name: None for option in SPEC.options} | {"hwversion": "undefined"} | options
    return hooks.instar_write(None, Create(size, values, b"disk.vmdk"), iter(runs))


def test_contiguous_content_stays_contiguous_over_a_large_image():
    size = 1 << 40
    edits = list(meta(size, [Run(0, size)]))
    copies = [edit for edit in edits if type(edit).__name__ == "Copy"]
    assert [(copy.start, copy.length) for copy in copies] == [(0, size)]
    assert max(len(edit.data) for edit in edits if isinstance(edit, Put)) <= 4 << 20
    assert len(edits) < 1000


def test_a_run_over_the_border_of_two_files_is_cut():
    border = 2 << 30
    edits = list(meta(border * 2, [Run(border - 65536, 131072)], subformat="twoGbMaxExtentFlat"))
    copies = [(edit.start, edit.offset, edit.length, edit.device) for edit in edits if type(edit).__name__ == "Copy"]
    assert copies == [(border - 65536, border - 65536, 65536, 1), (border, 0, 65536, 2)]


def test_an_extent_cannot_grow_past_what_its_tables_address():
    with pytest.raises(FormatError, match="2 TiB"):
        for _ in meta(3 << 40, [Run(0, 3 << 40)]):
            pass


@pytest.mark.parametrize("size", ((1 << 50) + 512, 1 << 60, 1 << 63))
def test_a_disk_too_large_for_its_tables_is_refused(size):
    with pytest.raises(FormatError, match="too large"):
        next(iter(meta(size, [])))


def test_too_many_files_are_refused():
    with pytest.raises(FormatError, match="too large"):
        next(iter(meta(9 << 40, [], subformat="twoGbMaxExtentFlat")))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"adapter_type": "foo"}, "invalid parameter value: foo"),
        ({"subformat": "foo"}, "invalid parameter value: foo"),
        ({"compat6": True, "hwversion": "7"}, "compat6 cannot be enabled with hwversion set"),
        ({"subformat": "monolithicFlat", "zeroed_grain": True}, "Flat image can't enable zeroed grain"),
        ({"subformat": "twoGbMaxExtentFlat", "backing_file": "x"}, "Flat image can't have backing file"),
        ({"backing_fmt": "raw"}, "backing_file must be a vmdk image"),
        ({"hwversion": 'a"b'}, "cannot name"),
        ({"toolsversion": "a\nb"}, "cannot name"),
        ({"toolsversion": "a" * 20000}, "too long"),
    ],
)
def test_options_that_cannot_be_had_are_refused_as_by_qemu(options, message):
    with pytest.raises(FormatError, match=message):
        list(meta(1 << 20, [], **options))


def test_an_existing_image_is_not_changed():
    with pytest.raises(FormatError):
        hooks.instar_write(None, SnapshotEdit("create", "x"), ())


def test_a_stream_takes_encoded_grains_only():
    with pytest.raises(ContractViolation):
        list(meta(1 << 20, [Run(0, 65536)], subformat="streamOptimized"))


def test_a_stream_has_its_markers_where_the_specification_puts_them(tmp_path, host):
    path = tmp_path / "disk.vmdk"
    host.create(path, 96 << 20, bytes(40 << 20) + b"a" * 100000, subformat="streamOptimized")
    data = path.read_bytes()
    kinds = []
    at = 128 * 512
    while at < len(data):
        value, size = int.from_bytes(data[at : at + 8], "little"), int.from_bytes(data[at + 8 : at + 12], "little")
        if size:
            kinds.append(("grain", value))
            at += -(-(12 + size) // 512) * 512
            continue
        kinds.append(("metadata", int.from_bytes(data[at + 12 : at + 16], "little")))
        at += 512 * (1 + value)
    assert at == len(data)
    assert kinds == [
        ("grain", 81920),
        ("grain", 82048),
        ("metadata", 1),
        ("metadata", 2),
        ("metadata", 3),
        ("metadata", 0),
    ]
    head = HostedHeader._make(HOSTED.unpack(data[:512]))
    foot = HostedHeader._make(HOSTED.unpack(data[-1024:-512]))
    assert head == foot._replace(gd_offset=(1 << 64) - 1)
    assert (head.version, head.flags, head.compress) == (3, 0x30001, 1)


@pytest.mark.parametrize(
    "name, want",
    [(b"x.vmdk", b"x-s001.vmdk"), (b"x", b"x-s001"), (b"a.b.vmdk", b"a.b-s001.vmdk"), (b"x.", b"x-s001.")],
)
def test_files_are_named_as_qemu_names_them(name, want):
    assert extent_name(name, "s", 1) == want
    assert extent_name(name, "flat") == want.replace(b"-s001", b"-flat")


@pytest.mark.oracle
def test_the_options_and_their_help_are_qemus(programs):
    said = programs.img("create", "-f", "vmdk", "-o", "help").stdout.decode()
    theirs = {}
    for line in said.split("\n"):
        if line.startswith("  ") and "=<" in line:
            name, _, text = line.lstrip().partition("=<")
            theirs[name] = text.partition(" - ")[2]
    assert {option.name: option.help for option in SPEC.options} == theirs


@pytest.mark.oracle
def test_the_options_stand_in_qemus_order(tmp_path, programs):
    given = "adapter_type=ide,toolsversion=1,zeroed_grain=off,subformat=monolithicSparse"
    said = programs.img("create", "-f", "vmdk", "-o", given, tmp_path / "disk.vmdk", "1M").stdout.decode()
    named = [word.partition("=")[0] for word in said.split("fmt=vmdk ")[1].split()]
    assert named == [option.name for option in SPEC.options if option.name in named]
    assert len(named) == 7
