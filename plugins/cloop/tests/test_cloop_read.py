"""Compressed loop images, by cloop's own tool and built here, read as qemu-img reads them."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Layer, LayerKind, ProbeView

SIZES = (512, 4096, 65536)


def noise(seed, size, count):
    choose = random.Random(seed)
    return [choose.choice((choose.randbytes(size), bytes(size), b"abc" * size))[:size] for _ in range(count)]


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(8))
def test_any_blocks_read_as_for_qemu(seed, tmp_path, builder, programs, content, subject):
    size = SIZES[seed % 3]
    blocks = noise(seed, size, (0, 1, 2, 50)[seed % 4])
    data = builder.build(blocks, size=size)
    path = tmp_path / "disk.cloop"
    path.write_bytes(data)
    assert content(data) == programs.content(path) == b"".join(blocks)
    said = programs.answer("info", path)
    have = subject.info(Image([bytes_source(data)]))
    assert have.virtual_size == said["virtual-size"]
    assert (have.cluster_size, have.dirty) == (said.get("cluster-size", 0), said.get("dirty-flag"))


@pytest.mark.parametrize("level", ("0", "9", "-1"))
@pytest.mark.parametrize("size", (100_001, 1 << 18))
def test_what_cloops_own_tool_made_reads_as_it_was(level, size, tmp_path, programs, content, subject):
    tool = programs.find("create_compressed_fs", "INSTAR_CREATE_COMPRESSED_FS")
    flat, packed = tmp_path / "flat.img", tmp_path / "packed.cloop"
    flat.write_bytes(b"".join(noise(size, 4096, -(-size // 4096)))[:size])
    programs.run(tool, "-q", "-B", "16384", "-L", level, flat, packed)
    data = packed.read_bytes()
    image = Image([bytes_source(data)])
    assert content(data) == flat.read_bytes().ljust(subject.info(image).virtual_size, b"\0")
    assert len(list(subject.check(image))) == 1


def test_a_map_has_an_extent_for_every_block_and_cuts_the_outer_ones(builder, subject):
    """quirk("map-of-cloop")"""
    blocks = noise(1, 4096, 5)
    data = builder.build(blocks)
    image = Image([bytes_source(data)])
    made = [(one.start, one.length, one.skip) for one in subject.map(image, 100, 3 * 4096)]
    assert made == [(100, 3996, 100), (4096, 4096, 0), (8192, 4096, 0), (12288, 100, 0)]
    (one,) = subject.map(image, 4097, 7)
    assert (one.coding, one.stored, one.skip) == (1, len(zlib.compress(blocks[1], 1)), 1)


DECODES = {
    "as it should be": (zlib.compress, True),
    "with something behind it": (lambda block: zlib.compress(block) + b"junk", True),
    "twice": (lambda block: zlib.compress(block) * 2, True),
    "without its checksum": (lambda block: zlib.compress(block)[:-4], False),
    "with half a checksum": (lambda block: zlib.compress(block)[:-2], False),
    "with a wrong checksum": (lambda block: zlib.compress(block)[:-1] + b"\x99", False),
    "too short": (lambda block: zlib.compress(block[:-1]), False),
    "too long": (lambda block: zlib.compress(block + b"x"), False),
    "far too long": (lambda block: zlib.compress(bytes(1 << 20)), False),
    "of nothing": (lambda block: zlib.compress(b""), False),
    "bare": (lambda block: zlib.compress(block)[2:-4], False),
    "as gzip": (gzip.compress, False),
    "of zeros": (lambda block: bytes(100), False),
}


@pytest.mark.oracle
@pytest.mark.parametrize("case", DECODES)
def test_a_block_is_right_or_an_error_as_for_qemu(case, tmp_path, builder, programs, content):
    """A block that makes too little is never filled with zeros."""
    make, good = DECODES[case]
    blocks = noise(3, 4096, 3)
    data = builder.build(blocks, stored={1: make(blocks[1])})
    path = tmp_path / "disk.cloop"
    path.write_bytes(data)
    theirs = programs.img("convert", "-f", "cloop", "-O", "raw", path, tmp_path / "out", check=False).returncode == 0
    assert theirs == good
    if good:
        assert content(data) == b"".join(blocks)
    else:
        with pytest.raises(FormatError, match="compressed block"):
            content(data)


def test_a_probe_wants_the_preamble_of_cloop(builder, subject):
    good = builder.build([bytes(4096)])
    cases = [
        (good, True),
        (builder.build([bytes(4096)], preamble=builder.PREAMBLE), True),
        (builder.PREAMBLE, True),
        (builder.PREAMBLE[:-1], False),
        (b"#!/bin/sh\n#V2.0 Format\nm=geom_uzip\n".ljust(200, b"\0"), False),
        (b"#!/bin/sh\n#V2.0 Format\ninsmod cloop.o file=$0\n".ljust(200, b"\0"), False),
    ]
    for data, wanted in cases:
        assert bool(subject.probe(ProbeView(data[:65536], data[-4096:], len(data)))) == wanted


def test_with_the_format_named_the_preamble_does_not_matter(builder, content):
    data = builder.build([b"x" * 4096], preamble=b"#!/bin/sh\n#V2.0 Format\ninsmod cloop.o file=$0\n")
    assert content(data) == b"x" * 4096


def test_there_are_no_other_layers(builder, subject):
    image = Image([bytes_source(builder.build([bytes(4096)]))])
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(subject.map(image, 0, 4096, Layer(LayerKind.SNAPSHOT, "1")))
