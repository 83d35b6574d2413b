"""Probe, map and key plan of a LUKS volume, without any foreign program."""

from __future__ import annotations

import subprocess
import sys

import pytest
from instar_luks import hooks, limits

from instar_core.errors import FormatError
from instar_core.types import Kind, Layer, LayerKind, ProbeView, Span

PAYLOAD = 4040 * 512


def view(head):
    return ProbeView(head, head[-4096:], len(head))


def test_a_volume_of_any_version_is_claimed_so_that_none_passes_for_raw(header):
    """quirk("luks2-is-not-raw")"""
    for version in (0, 1, 2, 3):
        match = hooks.instar_probe(view(header(version=version)))
        assert match is not None
        assert (match.format, match.certainty) == ("luks", 100)


@pytest.mark.parametrize("head", [b"", b"LUKS", b"LUKS\xba\xbf\0\1", b"\0LUKS\xba\xbe\0\1", b"SKUL\xba\xbe\0\2"])
def test_other_files_are_not_claimed(head):
    assert hooks.instar_probe(view(head)) is None


def test_a_claim_on_a_magic_that_is_cut_short_does_not_raise():
    assert hooks.instar_probe(view(b"LUKS\xba\xbe")) is not None


def test_content_is_blocked_until_there_is_a_key(header, image):
    info = hooks.instar_info(image(header().ljust(PAYLOAD + 1024, b"\0")))
    assert info.blocked == "Parameter 'key-secret' is required for cipher"
    assert info.virtual_size == 1024


def test_a_last_sector_that_is_cut_short_counts_whole(header, image):
    assert hooks.instar_info(image(header().ljust(PAYLOAD + 513, b"\0"))).virtual_size == 1024
    assert hooks.instar_info(image(header().ljust(PAYLOAD - 511, b"\0"))).virtual_size == 0


def test_everything_maps_as_encrypted_data_in_its_place(header, image):
    volume = image(header())
    size = 2 * limits.EXTENT + 4096
    whole = list(hooks.instar_map(volume, Layer(), Span(0, size)))
    assert sum(extent.length for extent in whole) == size
    at = 0
    for extent in whole:
        assert extent.start == at
        assert (extent.kind, extent.coding, extent.skip, extent.device) == (Kind.DATA, 1, 0, 0)
        assert extent.offset == PAYLOAD + at
        assert extent.stored == extent.length < 1 << 32
        at += extent.length


@pytest.mark.parametrize("start", [0, 1, 512, limits.EXTENT - 512, limits.EXTENT])
@pytest.mark.parametrize("length", [0, 1, 512, 1024, limits.EXTENT])
def test_a_window_of_the_map_is_that_part_of_the_whole(header, image, start, length):
    volume = image(header())
    whole = hooks.instar_map(volume, Layer(), Span(0, 4 * limits.EXTENT))
    cut = []
    for extent in whole:
        first, end = max(extent.start, start), min(extent.start + extent.length, start + length)
        if first < end:
            cut.append((first, end - first, extent.offset + first - extent.start))
    found = hooks.instar_map(volume, Layer(), Span(start, length))
    assert [(extent.start, extent.length, extent.offset) for extent in found] == cut


def test_there_is_no_other_layer(header, image):
    with pytest.raises(FormatError):
        list(hooks.instar_map(image(header()), Layer(LayerKind.SNAPSHOT, "1"), Span(0, 512)))


def test_a_key_plan_holds_the_material_of_active_slots_only(header, image):
    content = header(slots={3: {"active": 0x00AC71F3, "iterations": 7, "salt": b"s" * 32}}).ljust(1 << 20, b"m")
    plan = hooks.instar_unlock(image(content))
    assert (plan.cipher, plan.key_size) == ("aes-xts-plain64", 64)
    assert [(slot.index, slot.params, slot.stripes) for slot in plan.slots] == [
        (0, {"iterations": 2000}, 4000),
        (3, {"iterations": 7}, 4000),
    ]
    assert plan.slots[1].salt == b"s" * 32
    for slot, material in zip(plan.slots, plan.material, strict=True):
        assert len(material) == slot.length == 64 * 4000
        inside = content[slot.offset : slot.offset + slot.length]
        assert material == inside.ljust(slot.length, b"\0")


def test_the_plugin_imports_nothing_slow():
    code = "import sys; before = set(sys.modules); import instar_luks.hooks; print(*(set(sys.modules) - before))"
    path = [entry for entry in sys.path if entry]
    made = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    new = {name.partition(".")[0] for name in made.stdout.split()}
    cheap = {"struct", "_struct", "_collections", "binascii", "_sha2", "_sha256", "_sha512"}
    assert new <= {"__future__", "instar_luks", "instar_core", *cheap}, new
