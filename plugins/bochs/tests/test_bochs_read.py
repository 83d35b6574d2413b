"""Growing disks, by bximage and by the documentation, read here as qemu-img and bximage read them."""

from __future__ import annotations

import random

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, LayerKind, ProbeView

MIB = 1 << 20


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(16))
def test_any_sectors_in_any_order_read_as_for_qemu(seed, tmp_path, builder, programs, content, subject):
    choose = random.Random(seed)
    extent = choose.choice((512, 4096, 65536, 1 << 21))
    size = choose.choice((0, 512, 777 * 512, MIB + 513, 3 * MIB))
    bitmap = choose.choice((1, 512, 513, 2048)) if extent <= 4096 else choose.choice((512, 1024))
    sectors = set()
    while len(sectors) < min(size // 512, choose.choice((1, 50, 400))):
        start = choose.randrange(size // 512)
        sectors.update(range(start, min(size // 512, start + choose.choice((1, 3, 20)))))
    order = sorted({sector // (extent // 512) for sector in sectors})
    choose.shuffle(order)
    version = choose.choice((builder.V1, builder.V2))
    data = builder.build(
        size, sorted(sectors), extent=extent, bitmap=bitmap, order=order, version=version, spare=seed % 3
    )
    path = tmp_path / "disk.img"
    path.write_bytes(data)
    assert content(data) == programs.content(path) == builder.disk(size, sectors)
    said = programs.answer("info", path)
    have = subject.info(Image([bytes_source(data)]))
    assert have.virtual_size == said["virtual-size"]
    assert (have.cluster_size, have.dirty) == (said.get("cluster-size", 0), said.get("dirty-flag"))


@pytest.mark.parametrize("kind", ("empty", "noise", "scattered", "full"))
def test_what_bximage_made_reads_as_it_was(kind, tmp_path, builder, programs, content, subject):
    choose = random.Random(kind)
    size = MIB - 512 * 8
    flat, grown = tmp_path / "flat.img", tmp_path / "grown.img"
    flat.write_bytes({
        "empty": bytes(size),
        "noise": choose.randbytes(MIB // 4).ljust(size, b"\0"),
        "scattered": builder.disk(size, choose.sample(range(size // 512), 300)),
        "full": choose.randbytes(size),
    }[kind])  # fmt: skip
    programs.run(programs.find("bximage", "INSTAR_BXIMAGE"), "-q", "-func=convert", "-imgmode=growing", flat, grown)
    data = grown.read_bytes()
    size = subject.info(Image([bytes_source(data)])).virtual_size
    assert content(data) == flat.read_bytes().ljust(size, b"\0")
    assert len(list(subject.check(Image([bytes_source(data)])))) == 1


@pytest.mark.parametrize("size", ("10M", "3G"))
def test_an_empty_disk_of_bximage_is_one_stretch_of_zeros(size, tmp_path, programs, subject):
    path = tmp_path / "disk.img"
    command = ("-q", "-func=create", f"-hd={size}", "-imgmode=growing", path)
    programs.run(programs.find("bximage", "INSTAR_BXIMAGE"), *command)
    image = Image([bytes_source(path.read_bytes())])
    virtual = subject.info(image).virtual_size
    assert virtual == programs.answer("info", path)["virtual-size"]
    (one,) = subject.map(image, 0, virtual)
    assert (one.kind, one.length) == (Kind.ZERO, virtual)


def test_sectors_that_were_never_written_map_as_zeros(builder, subject):
    """quirk("map-of-bochs")"""
    data = builder.build(64 << 10, [0, 1, 9, 10, 30])
    base = 512 + 16 * 4
    made = subject.map(Image([bytes_source(data)]), 0, 64 << 10)
    extents = [(one.start, one.length, one.kind, one.offset) for one in made]
    assert extents == [
        (0, 1024, Kind.DATA, base + 512),
        (1024, 3584, Kind.ZERO, -1),
        (4608, 1024, Kind.DATA, base + 4608 + 512 + 512),
        (5632, 9728, Kind.ZERO, -1),
        (15360, 512, Kind.DATA, base + 2 * 4608 + 512 + 6 * 512),
        (15872, 49664, Kind.ZERO, -1),
    ]


def test_a_probe_wants_a_whole_header_of_a_growing_disk(builder, subject):
    good = builder.build(MIB, [])
    cases = [
        (good, True),
        (builder.build(MIB, [], version=builder.V1), True),
        (good[:511], False),
        (b"Bochs Virtual HD Image, a text" + good[30:], False),
        (builder.changed(good, 64, 0x30000), False),
        (builder.changed(good, 48, b"Undoable", "16s"), False),
        (builder.changed(good, 48, b"Volatile", "16s"), False),
        (builder.changed(good, 32, b"Redolog ", "16s"), False),
    ]
    for data, wanted in cases:
        assert bool(subject.probe(ProbeView(data[:65536], data[-4096:], len(data)))) == wanted


def test_there_are_no_other_layers(builder, subject):
    image = Image([bytes_source(builder.build(MIB, []))])
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(subject.map(image, 0, MIB, Layer(LayerKind.SNAPSHOT, "1")))
