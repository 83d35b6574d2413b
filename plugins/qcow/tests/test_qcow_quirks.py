"""What differs from qemu-img on purpose."""

from __future__ import annotations

import pytest
from instar_qcow import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Layer, Span

pytestmark = pytest.mark.oracle


def test_a_name_that_could_not_be_read_back_is_not_stored(tmp_path, host, programs):
    """quirk("qcow-unusable-image")"""
    name = "x" * 1024
    programs.img("create", "-q", "-f", "qcow", "-u", "-b", name, "-F", "raw", tmp_path / "t", "1M")
    assert programs.img("info", "-f", "qcow", tmp_path / "t", check=False).returncode == 1
    for size, options in ((1 << 20, {"backing_file": name}), ((1 << 49) + 512, {})):
        with pytest.raises(FormatError, match="too l"):
            next(iter(hooks.instar_write(None, host.request(size, **options), iter(()))))


def test_an_entry_that_makes_no_sense_is_an_error_of_the_map(builder, tmp_path, programs):
    """quirk("qcow-entry")"""
    data = bytearray(builder(1 << 20, {0: b"a", 1: b"b"}, 12, 9))
    table = int.from_bytes(data[48:56], "big")
    data[table : table + 8] = (4097).to_bytes(8, "big")
    (tmp_path / "t").write_bytes(data)
    assert programs.img("map", "-f", "qcow", tmp_path / "t").returncode == 0
    assert (
        programs.img("convert", "-f", "qcow", "-O", "raw", tmp_path / "t", tmp_path / "o", check=False).returncode == 1
    )
    with pytest.raises(FormatError, match="makes no sense"):
        list(hooks.instar_map(Image([bytes_source(bytes(data))]), Layer(), Span(0, 1 << 20)))


def test_compressed_clusters_lie_closer_than_qemus(tmp_path, host, programs):
    """quirk("qcow-layout")"""
    content = b"instar" * 100_000
    (tmp_path / "in.raw").write_bytes(content)
    # With -c, qemu-img 11.1 ends with 1 without a word, though the image is whole.
    command = ("convert", "-c", "-f", "raw", "-O", "qcow", tmp_path / "in.raw", tmp_path / "theirs")
    programs.img(*command, check=False)
    host.create(tmp_path / "ours", -(-len(content) // 512) * 512, content, compress=True)
    assert programs.content(tmp_path / "ours") == programs.content(tmp_path / "theirs")
    assert (tmp_path / "ours").stat().st_size < (tmp_path / "theirs").stat().st_size
