"""Reading, judged by qemu-img: sizes, content and maps of images of qemu and of our own builder."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from instar_vpc import hooks

from instar_core.errors import FormatError
from instar_core.operations.check import check
from instar_core.operations.convert import convert
from instar_core.operations.info import info
from instar_core.operations.map import map_
from instar_core.settings import Settings
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, Role, Span

INLINE = Settings(sandbox="inline")
LENIENT = INLINE._replace(policy="qemu")
CREATORS = (b"vpc ", b"qemu", b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0", b"vbox", b"\0\0\0\0")
GEOMETRIES = ((65535, 16, 255), (100, 4, 17), (0, 0, 0), (65534, 16, 255), (65535, 15, 255))


def quirk(name):
    """Marks the test that proves an entry of docs/quirks.toml."""
    return name


def opened(data, **options):
    return Image([bytes_source(data)], options)


def agree(programs, path):
    """The image reads here as it does for qemu-img; its content."""
    said = programs.answer("info", path)
    (here,) = info(str(path), format="vpc", settings=INLINE)
    assert here.image.virtual_size == said["virtual-size"]
    assert here.image.cluster_size == said.get("cluster-size", 0)
    assert here.image.dirty == said["dirty-flag"]
    assert not here.image.details
    assert "format-specific" not in said
    have = [
        {
            "start": one.start,
            "length": one.length,
            "depth": one.depth,
            "present": one.present,
            "zero": one.zero,
            "data": one.data,
            "compressed": one.compressed,
            **({} if one.offset is None else {"offset": one.offset}),
        }
        for one in map_(str(path), format="vpc", settings=INLINE)
    ]
    assert have == programs.answer("map", path)
    target = path.with_name("here.raw")
    convert([str(path)], str(target), source_format="vpc", settings=INLINE)
    content = target.read_bytes()
    assert content == programs.content(path)
    return content


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
@pytest.mark.parametrize("force", ["on", "off"])
def test_images_that_qemu_filled_read_as_qemu_reads_them(programs, tmp_path, subformat, force):
    chance = random.Random(f"{subformat}{force}")
    for number in range(4):
        path = tmp_path / f"{number}.vhd"
        size = chance.randrange(1, 40_000) * 512
        programs.img("create", "-q", "-f", "vpc", "-o", f"subformat={subformat},force_size={force}", path, size)
        writes = []
        for _ in range(12):
            start = chance.randrange(size // 512) * 512
            length = min(size - start, chance.choice((512, 4096, 70_144, 3 << 20)))
            writes.append(f"write -P {chance.randrange(256)} {start} {length}")
        programs.io(path, *writes)
        assert any(agree(programs, path))


@pytest.mark.oracle
@pytest.mark.parametrize("block", [4096, 1 << 16, 1 << 19, 1 << 21, 1 << 24])
def test_blocks_of_every_size_in_any_order_read_as_qemu_reads_them(programs, builder, tmp_path, block):
    chance = random.Random(block)
    size = 20 * block + 3 * 512
    order = chance.sample(range(21), 9)
    filled = {number: (chance.randbytes(min(block, 5000)), None) for number in order}
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.dynamic(size, filled, block=block))
    assert len(agree(programs, path)) == size


@pytest.mark.oracle
def test_bitmaps_of_a_disk_without_parent_are_not_looked_at_as_in_qemu(programs, builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.dynamic(4 << 20, {1: (b"here" * 1000, (0, 3))}))
    assert agree(programs, path)[2 << 20 :].startswith(b"here" * 1000)


@pytest.mark.oracle
def test_the_size_is_that_which_qemu_decides_by_creator_and_geometry(programs, builder, tmp_path):
    path = tmp_path / "disk.vhd"
    for creator, geometry, mode in itertools.product(CREATORS, GEOMETRIES, (None, "chs", "current_size")):
        path.write_bytes(builder.dynamic(5 << 20, {}, entries=65535, creator=creator, geometry=geometry))
        given = f"driver=vpc,file.filename={path}" + (f",force_size_calc={mode}" if mode else "")
        done = programs.img("info", "--output=json", "--image-opts", given, check=False)
        case = creator, geometry, mode
        try:
            (here,) = info(str(path), format="vpc", open_options={"force_size_calc": mode}, settings=INLINE)
        except FormatError as error:
            assert done.returncode == 1, case
            assert done.stderr.decode().endswith(f": {error}\n"), (case, done.stderr)
            continue
        assert done.returncode == 0, (case, done.stderr)
        assert here.image.virtual_size == json.loads(done.stdout)["virtual-size"], case


@pytest.mark.oracle
def test_an_unknown_way_to_find_the_size_is_refused_in_the_words_of_qemu(programs, builder, tmp_path):
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.fixed(bytes(4096)))
    given = f"driver=vpc,file.filename={path},force_size_calc=auto"
    said = programs.img("info", "--image-opts", given, check=False).stderr.decode()
    with pytest.raises(FormatError) as caught:
        info(str(path), format="vpc", open_options={"force_size_calc": "auto"}, settings=INLINE)
    assert said.endswith(f": {caught.value}\n")


@pytest.mark.oracle
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_fixed_disks_with_footers_of_512_and_of_511_bytes_read_as_in_qemu(programs, builder, tmp_path, old):
    path = tmp_path / "disk.vhd"
    content = random.Random(1).randbytes(300 * 512)
    path.write_bytes(builder.fixed(content, old=old))
    assert agree(programs, path) == content


@pytest.mark.oracle
def test_a_fixed_disk_is_a_vhd_though_qemu_takes_it_for_raw(programs, builder, tmp_path):
    assert quirk("vpc-fixed")
    path = tmp_path / "disk.vhd"
    path.write_bytes(builder.fixed(b"x" * 5120))
    said = json.loads(programs.img("info", "--output=json", path).stdout)
    assert (said["format"], said["virtual-size"]) == ("raw", 5632)
    (here,) = info(str(path), settings=INLINE)
    assert (here.image.format, here.image.virtual_size) == ("vpc", 5120)
    (here,) = info(str(path), format="raw", settings=INLINE)
    assert (here.image.format, here.image.virtual_size) == ("raw", 5632)


def test_a_probe_finds_a_footer_in_front_and_at_the_end(builder):
    from instar_core.types import ProbeView

    def probe(data):
        return hooks.instar_probe(ProbeView(data[:73728], data[-4096:], len(data)))

    assert probe(builder.dynamic(1 << 20, {})).certainty == 100
    assert probe(builder.fixed(bytes(8192))).certainty < 100
    assert probe(builder.fixed(bytes(8192), old=True)) == probe(builder.fixed(bytes(8192)))
    assert probe(builder.fixed(bytes(8192)) + b"x") is None
    assert probe(b"") is None
    assert probe(bytes(100_000)) is None


@pytest.mark.oracle
def test_where_the_footer_in_front_is_damaged_the_one_at_the_end_counts(programs, builder, tmp_path):
    assert quirk("vpc-second-footer")
    path = tmp_path / "disk.vhd"
    data = builder.dynamic(4 << 20, {0: (b"content", None)})
    for damage in (b"\0" * 8, b"conectix" + b"\1" * 8, bytes(512)):
        path.write_bytes(damage + data[len(damage) :])
        assert programs.refusal(path) in ("invalid VPC image", "Incorrect header checksum")
        said = hooks.instar_info(opened(path.read_bytes()))
        assert said == hooks.instar_info(opened(data))
        target = tmp_path / "here.raw"
        convert([str(path)], str(target), settings=INLINE)
        assert target.read_bytes() == b"content".ljust(4 << 20, b"\0")


def chain(builder, tmp_path, here=(0, 1, 5, 6, 7, 8, 100, 4095)):
    """A child with some sectors of its own over a parent; both in a folder. What the disk should read as."""
    base = random.Random(2).randbytes(5 << 20)
    filled = {number: (base[number << 21 :][: 1 << 21], None) for number in range(3)}
    (tmp_path / "base.vhd").write_bytes(builder.dynamic(5 << 20, filled))
    names = ((b"W2ru", ".\\base.vhd".encode("utf-16-le")),)
    own = random.Random(3).randbytes(2 << 20)
    fields = {"parent": bytes(range(16))}
    child = builder.dynamic(5 << 20, {1: (own, here)}, kind=4, names=names, header_fields=fields)
    (tmp_path / "child.vhd").write_bytes(child)
    want = bytearray(base)
    for sector in here:
        at = sector * 512
        want[(2 << 20) + at : (2 << 20) + at + 512] = own[at : at + 512]
    return bytes(want)


def test_a_differencing_disk_shows_its_own_sectors_and_those_of_its_parent(builder, tmp_path):
    want = chain(builder, tmp_path)
    target = tmp_path / "here.raw"
    convert([str(tmp_path / "child.vhd")], str(target), settings=INLINE)
    assert target.read_bytes() == want
    depths = {(one.depth, one.data) for one in map_(str(tmp_path / "child.vhd"), settings=INLINE)}
    assert depths == {(0, True), (1, True)}


@pytest.mark.oracle
def test_libvhdi_reads_a_differencing_disk_with_the_same_result(programs, builder, tmp_path):
    pyvhdi = programs.module("pyvhdi")
    # Of a byte of the bitmap libvhdi takes all bits after the first that is set for set, so whole bytes are.
    want = chain(builder, tmp_path, (*range(16), *range(800, 1608), *range(4088, 4096)))
    parent, child = pyvhdi.file(), pyvhdi.file()
    parent.open(str(tmp_path / "base.vhd"))
    child.open(str(tmp_path / "child.vhd"))
    child.set_parent(parent)
    assert child.read_buffer_at_offset(5 << 20, 0) == want
    identity = hooks.instar_info(opened((tmp_path / "child.vhd").read_bytes())).references[0].details["identity"]
    assert child.parent_identifier == identity
    assert parent.identifier == identity


@pytest.mark.oracle
def test_qemu_shows_zeros_where_a_differencing_disk_shows_its_parent(programs, builder, tmp_path):
    assert quirk("vpc-differencing")
    want = chain(builder, tmp_path)
    shown = programs.content(tmp_path / "child.vhd")
    assert not any(shown[: 2 << 20])
    assert any(want[: 2 << 20])


def test_every_window_of_a_differencing_disk_maps_alike(builder, tmp_path):
    chain(builder, tmp_path)
    image = opened((tmp_path / "child.vhd").read_bytes())
    kinds = bytearray()
    places = {}
    for one in hooks.instar_map(image, Layer(), Span(0, 5 << 20)):
        kinds += bytes([one.kind]) * (one.length // 512)
        for sector in range(one.length // 512):
            places[one.start // 512 + sector] = one.offset + sector * 512 if one.kind == Kind.DATA else -1
    chance = random.Random(4)
    for _ in range(300):
        start = chance.randrange((2 << 20) - 4096, (4 << 20) + 4096)
        length = chance.choice((1, 100, 512, 5000))
        for one in hooks.instar_map(image, Layer(), Span(start, length)):
            sector = one.start // 512
            assert one.kind == kinds[sector]
            assert one.kind == Kind.ABSENT or one.offset == places[sector] + one.start % 512


NAMES = {
    "relative": (((b"W2ru", "..\\a\\b c.vhd".encode("utf-16-le")),), "", b"../a/b c.vhd"),
    "here": (((b"W2ru", ".\\b.vhd\0".encode("utf-16-le")),), "", b"b.vhd"),
    "absolute": (((b"W2ku", "\\x\\b.vhd".encode("utf-16-le")),), "y.vhd", b"/x/b.vhd"),
    "url": (((b"MacX", b"file://./b%20c.vhd\0"),), "y.vhd", b"b c.vhd"),
    "absolute url": (((b"MacX", b"file:///x/%62.vhd"),), "", b"/x/b.vhd"),
    "no file url": (((b"MacX", b"http://x/b.vhd"),), "y.vhd", b"y.vhd"),
    "half an escape": (((b"MacX", b"file://b%4"),), "", b"b%4"),
    "name": ((), "dir\\ü.vhd", "dir/ü.vhd".encode()),
    "order": (
        ((b"W2ku", "\\abs".encode("utf-16-le")), (b"MacX", b"file://url"), (b"W2ru", "rel".encode("utf-16-le"))),
        "own",
        b"rel",
    ),
    "unknown codes": (((b"Wi2r", b"old"), (b"Mac ", b"alias")), "own", b"own"),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_parent_is_named_by_the_best_of_its_names(builder, case):
    names, own, want = NAMES[case]
    data = builder.dynamic(1 << 20, {}, kind=4, names=names, header_fields={"name": own, "parent": bytes(range(16))})
    (reference,) = hooks.instar_info(opened(data)).references
    assert (reference.role, reference.name, reference.format) == (Role.BACKING, want, "vpc")
    assert reference.details["identity"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_the_identity_that_a_child_wants_is_the_one_that_its_parent_shows(builder, tmp_path):
    chain(builder, tmp_path)
    parent = hooks.instar_info(opened((tmp_path / "base.vhd").read_bytes()))
    child = hooks.instar_info(opened((tmp_path / "child.vhd").read_bytes()))
    assert child.references[0].details["identity"] == parent.extra["identity"]
    nameless = builder.dynamic(1 << 20, {}, kind=4, identity=bytes(16), names=((b"MacX", b"file://x"),))
    said = hooks.instar_info(opened(nameless))
    assert "identity" not in said.extra
    assert "identity" not in said.references[0].details


def test_a_child_without_a_name_of_its_parent_cannot_be_read(builder):
    said = hooks.instar_info(opened(builder.dynamic(1 << 20, {}, kind=4)))
    assert said.blocked == "the image is a differencing disk, but does not name its parent"


def test_a_large_table_is_read_in_a_jail_too(builder, tmp_path):
    path = tmp_path / "disk.vhd"
    order = random.Random(6).sample(range(3000), 2000)
    filled = {number: (bytes([number % 256]) * 4096, None) for number in order}
    path.write_bytes(builder.dynamic(3000 * 4096, filled, block=4096))
    jail = Settings(sandbox="process")
    (said,) = info(str(path), settings=jail)
    assert said.image.virtual_size == 3000 * 4096
    have = [(one.start, one.length, one.data) for one in map_(str(path), settings=jail)]
    assert have == [(one.start, one.length, one.data) for one in map_(str(path), settings=INLINE)]
    assert sum(length for _, length, data in have if data) == 2000 * 4096
    report = check(str(path), settings=jail)
    assert (report.allocated, report.corruptions) == (2000, 0)


@pytest.mark.oracle
def test_a_map_of_a_large_disk_costs_what_its_fragments_cost(programs, tmp_path):
    path = tmp_path / "large.vhd"
    programs.img("create", "-q", "-f", "vpc", "-o", "force_size=on", path, "2040G")
    programs.io(path, "write -P 1 1T 1M", "write -P 2 2039G 1M")
    have = [(one.start, one.length, one.data) for one in map_(str(path), settings=INLINE)]
    want = [(one["start"], one["length"], one["data"]) for one in programs.answer("map", path)]
    assert have == want
    image = opened(path.read_bytes())
    assert len(list(hooks.instar_map(image, Layer(), Span(0, 2040 << 30)))) == 5
