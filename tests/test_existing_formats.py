"""convert -n writes into an image that is there, whose properties stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

import instar_core as instar
from instar_core import registry
from instar_core.types import Capability, FormatSpec

MADE = {
    "vhdx": ({"block_size": "1M", "log_size": "2M"}, {}),
    "vpc": ({"subformat": "fixed", "force_size": "on"}, {"subformat": "fixed", "force-size": True}),
    "vdi": ({"static": "on"}, {"static": True}),
    "qed": ({"cluster_size": "4k", "table_size": "2"}, {"table-size": 2}),
    "parallels": ({"cluster_size": "64k"}, {"cluster-size": 65536}),
    "qcow2": ({"cluster_size": "4k", "refcount_bits": "1", "extended_l2": "off"}, {}),
    "vmdk": ({"subformat": "twoGbMaxExtentSparse"}, {}),
}
VOLATILE = {
    "identity",
    "virtual-disk-id",
    "creator",
    "uuid",
    "uuid-snapshot",
    "blocks-allocated",
    "time-stamp",
    "cid",
    "l1-offset",
}
SIZE = (6 << 20) + 512


@pytest.mark.parametrize("format", MADE)
def test_what_is_converted_into_keeps_the_properties_it_was_made_with(format: str, tmp_path: Path) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    options, expected = MADE[format]
    target, source = str(tmp_path / "target"), tmp_path / "source"
    source.write_bytes(b"content!" * (SIZE // 8))
    instar.create(target, format=format, size=SIZE, options=options)
    (before,) = instar.info(target, format=format)
    instar.convert([str(source)], target, source_format="raw", target_format=format, create=False)
    (after,) = instar.info(target, format=format)
    assert instar.compare(target, str(source), first_format=format, second_format="raw").identical
    assert after.image.virtual_size == before.image.virtual_size
    assert after.image.cluster_size == before.image.cluster_size
    for kept in (before.image.extra, before.image.details):
        for name, value in kept.items():
            if name not in VOLATILE and name != "extents":
                now = {**after.image.extra, **after.image.details}[name]
                assert now == value, name
    assert {name: {**after.image.extra, **after.image.details}[name] for name in expected} == expected


def test_a_data_file_that_is_kept_holds_nothing_of_before_where_the_disk_is_zeros(tmp_path: Path) -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    source, data, image = tmp_path / "source", tmp_path / "data", str(tmp_path / "image")
    source.write_bytes(b"content!" * 10_000 + bytes(1 << 20))
    data.write_bytes(b"old bytes" * 200_000)
    options = {"data_file": str(data), "data_file_raw": "on", "keep_data_file": "on"}
    instar.convert([str(source)], image, source_format="raw", target_format="qcow2", options=options)
    assert instar.compare(image, str(source), second_format="raw").identical
    data.unlink()
    with pytest.raises(instar.InstarError, match="No such file or directory"):
        instar.convert([str(source)], image, source_format="raw", target_format="qcow2", options=options)
    assert not data.exists()


def test_an_image_of_a_format_that_writes_nothing_in_place_is_made_anew_if_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("instar_vdi", reason="instar-vdi is not installed")
    known = registry.spec

    def without(name: str) -> FormatSpec:
        spec = known(name)
        return spec._replace(capabilities=spec.capabilities - {Capability.UPDATE}) if name == "vdi" else spec

    monkeypatch.setattr(registry, "spec", without)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content!" * (1 << 17))
    instar.create(str(target), format="vdi", size=SIZE)
    for _ in range(2):  # what it holds already is replaced as a whole
        instar.convert([str(source)], str(target), source_format="raw", target_format="vdi", create=False)
    (after,) = instar.info(str(target), format="vdi")
    assert after.image.virtual_size == SIZE
    with instar.open(str(target), format="vdi") as disk:
        assert disk.pread(SIZE, 0) == source.read_bytes().ljust(SIZE, b"\0")
    before = target.read_bytes()
    source.write_bytes(b"shorter " * 64)
    with pytest.raises(instar.InstarError, match="vdi images cannot be written in place"):
        instar.convert([str(source)], str(target), source_format="raw", target_format="vdi", create=False)
    assert target.read_bytes() == before
