"""What differs from qemu-img on purpose."""

from __future__ import annotations

import json

import pytest
from instar_dmg import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Layer, ProbeView, Span

pytestmark = pytest.mark.oracle


def mapped(programs, path):
    return json.loads(programs.img("map", "-f", "dmg", "--output=json", path).stdout)


def test_a_map_tells_which_sectors_are_zeros(builder, opened, filling, tmp_path, programs):
    """quirk("map-of-dmg")"""
    data = (
        builder.Image().partition("a", ("raw", filling(1, 8)), ("zlib", filling(2, 8)), ("zero", bytes(4096))).build()
    )
    (tmp_path / "t").write_bytes(data)
    (one,) = mapped(programs, tmp_path / "t")
    assert (one["length"], one["data"], one["zero"]) == (12288, True, False)
    found = opened(data).extents()
    assert [(extent.kind, extent.coding) for extent in found] == [(Kind.DATA, 0), (Kind.DATA, 1), (Kind.ZERO, 0)]


def test_an_image_is_known_by_its_trailer_whatever_its_name(several, tmp_path, programs):
    """quirk("dmg-by-trailer")"""
    data = several(["zlib"]).build()
    assert hooks.instar_probe(ProbeView(data[:4096], data[-4096:], len(data))) is not None
    (tmp_path / "t.img").write_bytes(data)
    assert json.loads(programs.img("info", "--output=json", tmp_path / "t.img").stdout)["format"] == "raw"
    (tmp_path / "t.dmg").write_bytes(bytes(4096))
    assert hooks.instar_probe(ProbeView(bytes(4096), bytes(4096), 4096)) is None
    assert programs.img("info", tmp_path / "t.dmg", check=False).returncode == 1


@pytest.mark.parametrize("kind", ("adc", "lzma"))
def test_kinds_that_qemu_img_does_not_know_are_read(kind, several, opened, tmp_path, programs):
    """quirk("dmg-reads-more")"""
    made = several([kind])
    (tmp_path / "t").write_bytes(made.build())
    done = programs.img("convert", "-f", "dmg", "-O", "raw", tmp_path / "t", tmp_path / "o", check=False)
    assert done.returncode == 1
    assert opened(made.build()).content() == made.content


def test_a_sector_in_two_chunks_cannot_be_mapped(builder, tmp_path, programs):
    """quirk("dmg-sector-twice")"""
    made = builder.Image()
    made.fork = bytearray(b"a" * 4096 + b"b" * 4096)
    made.tables.append(("a", builder.table(0, [(1, 0, 8, 0, 4096), (1, 4, 8, 4096, 4096)], b"", sectors=12)))
    data = made.build(sectors=12)
    (tmp_path / "t").write_bytes(data)
    programs.img("convert", "-f", "dmg", "-O", "raw", tmp_path / "t", tmp_path / "o")
    with pytest.raises(FormatError, match="two chunks hold the sector 4"):
        list(hooks.instar_map(Image([bytes_source(data)]), Layer(), Span(0, 6144)))


def test_encrypted_and_divided_images_are_refused_by_name(several, tmp_path, programs):
    """quirk("dmg-divided")"""
    data = several(["zlib"]).build(segments=2)
    (tmp_path / "t").write_bytes(data)
    assert programs.img("info", "-f", "dmg", tmp_path / "t").returncode == 0
    with pytest.raises(FormatError, match="divided over 2 files"):
        hooks.instar_info(Image([bytes_source(data)]))
